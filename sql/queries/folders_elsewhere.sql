-- Which of some folders runs of other namespaces than one are called.
WITH called (namespace, name) AS NOT MATERIALIZED (
    SELECT workflow_namespace, workflow_name FROM workflow_comms.runs
    UNION ALL
    SELECT workflow_namespace, workflow_uid FROM workflow_comms.runs
    UNION ALL
    SELECT workflow_namespace, workflow_name FROM workflow_comms.reconcile_queue
    UNION ALL
    SELECT workflow_namespace, workflow_uid FROM workflow_comms.reconcile_queue
)
SELECT wanted.folder
FROM unnest(%(names)s::text[]) AS wanted (folder)
WHERE EXISTS (
    SELECT FROM called AS other WHERE other.name = wanted.folder AND other.namespace <> %(namespace)s::text
)
