-- The next places in some channels after a live cursor, so many of each, whoever spoke there; read from the index alone.
-- In one statement: what is committed between two would be passed by in one channel and be seen in the other.
SELECT channel, place
FROM unnest(%(channels)s::text[]) AS channel
CROSS JOIN LATERAL workflow_comms.seqs_after(channel, %(seq)s::bigint, %(limit)s::bigint) AS place
