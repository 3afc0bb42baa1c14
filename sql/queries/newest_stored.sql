-- The newest message's cursor, and whether it was stored just now.
SELECT seq, created_at > now() - %(young)s::interval
FROM (
    (SELECT seq, created_at FROM workflow_comms.agent_messages WHERE channel = 'run' ORDER BY seq DESC LIMIT 1)
    UNION ALL
    (SELECT seq, created_at FROM workflow_comms.agent_messages WHERE channel = 'general' ORDER BY seq DESC LIMIT 1)
) AS newest
ORDER BY seq DESC
LIMIT 1
