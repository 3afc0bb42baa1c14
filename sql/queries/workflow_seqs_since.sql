-- Where one workflow said something next after a live cursor, in the order of commits; read from the index alone.
-- Sorted by an expression, lest the planner walk everybody's tail to find one workflow in it.
SELECT seq
FROM workflow_comms.agent_messages
WHERE workflow_namespace = %(namespace)s::text
  AND workflow_uid = %(uid)s::text
  AND channel = ANY (%(channels)s::text[])
  AND seq > %(seq)s::bigint
ORDER BY seq + 0
LIMIT %(limit)s::bigint
