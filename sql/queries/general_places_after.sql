-- The first places in reading order where something was said in the general channel, between two of them; read from the index alone.
SELECT "timestamp", seq
FROM workflow_comms.agent_messages
WHERE channel = 'general'
  AND ("timestamp", seq) > (%(low_at)s::timestamptz, %(low_seq)s::bigint)
  AND ("timestamp", seq) < (%(high_at)s::timestamptz, %(high_seq)s::bigint)
ORDER BY "timestamp", seq
LIMIT %(limit)s::bigint
