-- The live cursor up to which nothing of a channel is left: a prune begins after it.
SELECT coalesce((SELECT walked FROM workflow_comms.pruned WHERE channel = %(channel)s::text), 0)
