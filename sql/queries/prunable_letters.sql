-- Counts the dead letters that are past the retention.
SELECT count(*) FROM workflow_comms.dead_letters WHERE first_seen_at < %(before)s
