-- The runs that a name fits: by run id before uid before name, then the newest first.
SELECT workflow_namespace, workflow_uid, workflow_name, run_id, runtime,
       workflow_comms.shown_state(state, last_at, %(silent_since)s::timestamptz) AS state,
       messages, tool_calls, errors, agents, first_at, last_at, started_at, finished_at, last_agent, last_content,
       pruned, attrs::text
FROM (
    (
        SELECT 1 AS rank, *
        FROM workflow_comms.runs
        WHERE run_id = %(run_id)s::text AND (%(namespace)s::text IS NULL OR workflow_namespace = %(namespace)s::text)
        ORDER BY coalesce(last_at, finished_at) DESC NULLS LAST, workflow_namespace, workflow_uid
        LIMIT %(limit)s::bigint
    )
    UNION ALL
    (
        SELECT 2 AS rank, *
        FROM workflow_comms.runs
        WHERE workflow_uid = %(uid)s::text AND (%(namespace)s::text IS NULL OR workflow_namespace = %(namespace)s::text)
        ORDER BY coalesce(last_at, finished_at) DESC NULLS LAST, workflow_namespace, workflow_uid
        LIMIT %(limit)s::bigint
    )
    UNION ALL
    (
        SELECT 3 AS rank, *
        FROM workflow_comms.runs
        WHERE workflow_name = %(name)s::text AND (%(namespace)s::text IS NULL OR workflow_namespace = %(namespace)s::text)
        ORDER BY coalesce(last_at, finished_at) DESC NULLS LAST, workflow_namespace, workflow_uid
        LIMIT %(limit)s::bigint
    )
) AS found
ORDER BY rank, coalesce(last_at, finished_at) DESC NULLS LAST, workflow_namespace, workflow_uid
LIMIT %(limit)s::bigint
