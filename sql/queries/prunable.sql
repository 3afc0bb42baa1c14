-- How many messages and dead letters are past the retention.
SELECT
    (SELECT count(*) FROM workflow_comms.agent_messages WHERE created_at < %(before)s),
    (SELECT count(*) FROM workflow_comms.dead_letters WHERE first_seen_at < %(before)s)
