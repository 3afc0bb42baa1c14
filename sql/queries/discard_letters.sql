-- Deletes dead letters for good.
DELETE FROM workflow_comms.dead_letters WHERE id = ANY (%(ids)s)
