-- The newest message's cursor, and whether somebody who recovers nothing has stored it just now.
SELECT seq, created_at > now() - %(young)s::interval AND attrs ->> 'source' IS DISTINCT FROM 'backfill'
FROM (
    (SELECT seq, created_at, attrs FROM workflow_comms.agent_messages WHERE channel = 'run' ORDER BY seq DESC LIMIT 1)
    UNION ALL
    (SELECT seq, created_at, attrs FROM workflow_comms.agent_messages WHERE channel = 'general' ORDER BY seq DESC LIMIT 1)
) AS newest
ORDER BY seq DESC
LIMIT 1
