-- Says how a run stands that was worked on, unless it was queued anew meanwhile or has been taken by somebody else.
UPDATE workflow_comms.reconcile_queue
SET state = %(state)s,
    attempts = attempts - %(undone)s,
    last_error = %(error)s,
    report = coalesce(%(report)s::jsonb, report),
    next_try_at = now() + %(delay)s::interval,
    finished_at = CASE WHEN %(state)s IN ('done', 'failed') THEN now() END
WHERE workflow_namespace = %(namespace)s AND workflow_uid = %(uid)s
    AND revision = %(revision)s AND attempts = %(attempts)s AND state = 'running'
