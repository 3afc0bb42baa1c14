-- The runs in the queue that wait for something or were given up, the one that is tried next first; at the end those that
-- only wait for artifacts, which may never come.
SELECT workflow_namespace, workflow_uid, workflow_name, state, attempts, last_error, next_try_at
FROM workflow_comms.reconcile_queue
WHERE state IN ('running', 'failed') OR state = 'queued' AND (attempts > 0 OR last_error IS NOT NULL)
ORDER BY state = 'queued' AND attempts = 0, state = 'failed', next_try_at
LIMIT %(limit)s
