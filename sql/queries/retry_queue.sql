-- Queues runs anew that were given up.
UPDATE workflow_comms.reconcile_queue
SET state = 'queued', attempts = 0, next_try_at = now()
WHERE state = 'failed'
