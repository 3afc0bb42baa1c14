-- The next places in a channel after a live cursor; read from the index alone.
SELECT seq
FROM workflow_comms.agent_messages
WHERE channel = %(channel)s::text AND seq > %(seq)s::bigint
ORDER BY seq
LIMIT %(limit)s::bigint
