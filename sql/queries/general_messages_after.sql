-- What the general channel, or one namespace in it, holds first between two places in reading order, oldest first.
SELECT id::text, seq, workflow_uid, workflow_name, workflow_namespace, run_id, step_id, agent_id, role, kind, "timestamp",
       channel, stage, content, attrs::text, created_at, total
FROM (
    SELECT picked.*, size, sum(size) OVER (ORDER BY "timestamp", seq) AS total
    FROM (
        SELECT *
        FROM workflow_comms.agent_messages
        WHERE channel = 'general'
          AND (%(namespace)s::text IS NULL OR workflow_namespace = %(namespace)s::text)
          AND ("timestamp", seq) > (%(low_at)s::timestamptz, %(low_seq)s::bigint)
          AND ("timestamp", seq) < (%(high_at)s::timestamptz, %(high_seq)s::bigint)
        ORDER BY "timestamp", seq
        LIMIT %(limit)s::bigint
    ) AS picked
    CROSS JOIN LATERAL (SELECT octet_length(content) + octet_length(attrs::text) AS size) AS measured
) AS page
WHERE total - size < %(max_bytes)s::bigint
ORDER BY "timestamp", seq
