-- What was committed after a live cursor, in both channels, in the order of commits.
SELECT id::text, seq, workflow_uid, workflow_name, workflow_namespace, run_id, step_id, agent_id, role, kind, "timestamp",
       channel, stage, content, attrs::text, created_at, total
FROM (
    SELECT picked.*, size, sum(size) OVER (ORDER BY seq) AS total
    FROM (
        (
            SELECT *
            FROM workflow_comms.agent_messages
            WHERE channel = 'run' AND seq > %(seq)s::bigint
            ORDER BY seq
            LIMIT %(limit)s::bigint
        )
        UNION ALL
        (
            SELECT *
            FROM workflow_comms.agent_messages
            WHERE channel = 'general' AND seq > %(seq)s::bigint
            ORDER BY seq
            LIMIT %(limit)s::bigint
        )
        ORDER BY seq
        LIMIT %(limit)s::bigint
    ) AS picked
    CROSS JOIN LATERAL (SELECT octet_length(content) + octet_length(attrs::text) AS size) AS measured
) AS page
WHERE total - size < %(max_bytes)s::bigint
ORDER BY seq
