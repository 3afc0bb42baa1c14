-- The first message after a live cursor and when it was stored; none where there is none.
SELECT seq, created_at
FROM (
    (
        SELECT seq, created_at FROM workflow_comms.agent_messages
        WHERE channel = 'run' AND seq > %(seq)s::bigint ORDER BY seq LIMIT 1
    )
    UNION ALL
    (
        SELECT seq, created_at FROM workflow_comms.agent_messages
        WHERE channel = 'general' AND seq > %(seq)s::bigint ORDER BY seq LIMIT 1
    )
) AS next
ORDER BY seq
LIMIT 1
