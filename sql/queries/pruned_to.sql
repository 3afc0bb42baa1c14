-- The live cursor up to which messages of a channel may have been pruned; 0 where none was.
SELECT coalesce((SELECT seq FROM workflow_comms.pruned WHERE channel = %(channel)s::text), 0)
