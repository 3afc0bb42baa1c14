-- Folders that runs of other namespaces are called; two arrays of one length, the namespaces that ask and the folders.
WITH called (namespace, name) AS NOT MATERIALIZED (
    SELECT workflow_namespace, workflow_name FROM workflow_comms.runs
    UNION ALL
    SELECT workflow_namespace, workflow_uid FROM workflow_comms.runs
    UNION ALL
    SELECT workflow_namespace, workflow_name FROM workflow_comms.reconcile_queue
    UNION ALL
    SELECT workflow_namespace, workflow_uid FROM workflow_comms.reconcile_queue
)
SELECT wanted.namespace, wanted.folder
FROM unnest(%(namespaces)s::text[], %(folders)s::text[]) AS wanted (namespace, folder)
WHERE EXISTS (
    SELECT FROM called AS other WHERE other.name = wanted.folder AND other.namespace <> wanted.namespace
)
