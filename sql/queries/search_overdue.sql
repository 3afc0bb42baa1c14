-- The first place after a live cursor and when something was stored there; none where there is none.
SELECT seq, created_at FROM workflow_comms.next_stored_after(%(seq)s::bigint)
