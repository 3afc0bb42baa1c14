-- When the message at a live cursor was stored; the next one's where that is gone, and no row where nothing is left.
SELECT created_at FROM workflow_comms.next_stored_after(%(seq)s::bigint - 1)
