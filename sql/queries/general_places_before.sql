-- The last places in reading order where something was said in the general channel, or by one namespace in it, between two of them.
-- Read from the index alone: how many they are, their cursors, and the last of them.
SELECT count(*), string_agg(seq::text, ','), (array_agg("timestamp"))[count(*)::int], (array_agg(seq))[count(*)::int]
FROM (
    SELECT "timestamp", seq
    FROM workflow_comms.agent_messages
    WHERE channel = 'general'
      AND (%(namespace)s::text IS NULL OR workflow_namespace = %(namespace)s::text)
      AND ("timestamp", seq) > (%(low_at)s::timestamptz, %(low_seq)s::bigint)
      AND ("timestamp", seq) < (%(high_at)s::timestamptz, %(high_seq)s::bigint)
    ORDER BY "timestamp" DESC, seq DESC
    LIMIT %(limit)s::bigint
) AS places
