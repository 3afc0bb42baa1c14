-- How many runs were reconciled in the last seven days, by whether everything that they said is there.
SELECT coalesce((report ->> 'complete')::boolean, false), count(*)
FROM workflow_comms.reconcile_queue
-- Of a run that is done, when it was.
WHERE state = 'done' AND next_try_at > now() - interval '7 days'
GROUP BY 1
