-- The next places in a channel after a live cursor, whoever spoke there; read from the index alone.
SELECT * FROM workflow_comms.seqs_after(%(channel)s::text, %(seq)s::bigint, %(limit)s::bigint)
