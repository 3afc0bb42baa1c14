-- The namespaces that have runs, one step through the index each.
WITH RECURSIVE step AS (
    (SELECT workflow_namespace FROM workflow_comms.runs ORDER BY workflow_namespace LIMIT 1)
    UNION ALL
    SELECT (
        SELECT workflow_namespace FROM workflow_comms.runs AS run
        WHERE run.workflow_namespace > step.workflow_namespace
        ORDER BY workflow_namespace
        LIMIT 1
    )
    FROM step
    WHERE step.workflow_namespace IS NOT NULL
)
SELECT workflow_namespace FROM step WHERE workflow_namespace IS NOT NULL LIMIT %(limit)s::bigint
