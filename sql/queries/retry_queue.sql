-- Queues runs anew that were given up, or are done though they had no artifacts.
UPDATE workflow_comms.reconcile_queue
SET state = 'queued', attempts = 0, last_error = NULL, next_try_at = now()
WHERE state = 'failed'
    OR state = 'done' AND report @> '{"artifacts": 0, "gone": 0}' AND report -> 'absent' = '{}'
