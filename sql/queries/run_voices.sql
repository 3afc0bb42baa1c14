-- Who said how much in one run, by agent and kind, and how much of it was recovered from artifacts; the most first.
SELECT agent_id, kind, count(*), count(*) FILTER (WHERE attrs ->> 'source' = 'backfill'), min("timestamp"), max("timestamp")
FROM workflow_comms.agent_messages
WHERE workflow_namespace = %(namespace)s::text AND workflow_uid = %(uid)s::text AND channel = 'run'
GROUP BY agent_id, kind
ORDER BY count(*) DESC, agent_id, kind
LIMIT %(limit)s::bigint
