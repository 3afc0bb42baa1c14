-- Gives up runs whose workers have died too often.
UPDATE workflow_comms.reconcile_queue
SET state = 'failed', finished_at = now(),
    last_error = 'whoever worked on it has died ' || attempts || ' times' || coalesce(', before that: ' || last_error, '')
WHERE state = 'running' AND next_try_at <= now() AND attempts >= %(most)s
