-- How many dead letters wait for somebody; 10,000 where there are more.
SELECT count(*) FROM (SELECT FROM workflow_comms.dead_letters WHERE replayed_at IS NULL LIMIT 10000) AS waiting
