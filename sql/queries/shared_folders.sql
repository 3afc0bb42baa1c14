-- Folders that runs would be known by, and that other runs are called, too, in whatever namespace; three arrays of one length.
-- A run of the same namespace that has no uid but its name is no other one: whoever told of it knew the name alone.
WITH called (namespace, uid, name, is_bare) AS NOT MATERIALIZED (
    SELECT workflow_namespace, workflow_uid, workflow_name, workflow_uid = workflow_name FROM workflow_comms.runs
    UNION ALL
    SELECT workflow_namespace, workflow_uid, workflow_uid, workflow_uid = workflow_name FROM workflow_comms.runs
    UNION ALL
    SELECT workflow_namespace, workflow_uid, workflow_name, workflow_uid = workflow_name
    FROM workflow_comms.reconcile_queue
    UNION ALL
    SELECT workflow_namespace, workflow_uid, workflow_uid, workflow_uid = workflow_name
    FROM workflow_comms.reconcile_queue
)
SELECT wanted.namespace, wanted.uid, wanted.folder
FROM unnest(%(namespaces)s::text[], %(uids)s::text[], %(folders)s::text[]) AS wanted (namespace, uid, folder)
WHERE EXISTS (
    SELECT FROM called AS other
    WHERE other.name = wanted.folder
        AND (other.namespace <> wanted.namespace OR other.uid <> wanted.uid AND NOT other.is_bare)
)
