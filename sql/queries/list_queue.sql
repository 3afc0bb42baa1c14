-- The runs in the queue that wait for something or were given up, the one that is tried next first.
SELECT workflow_namespace, workflow_uid, workflow_name, state, attempts, last_error, next_try_at
FROM workflow_comms.reconcile_queue
WHERE state IN ('running', 'failed') OR attempts > 0 AND state = 'queued'
ORDER BY state = 'failed', next_try_at
LIMIT %(limit)s
