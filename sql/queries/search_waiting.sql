-- The newest places that aren't indexed yet, after a live cursor: so many at most, and so many bytes of what was said there.
SELECT * FROM workflow_comms.newest_seqs_after(%(upto)s::bigint, %(limit)s::bigint, %(max_bytes)s::bigint)
