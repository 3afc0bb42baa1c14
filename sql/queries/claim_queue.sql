-- Takes completed runs that are due off the queue, for nobody else to take until the lease is over; those whose worker
-- has let its lease run out are due, too.
WITH due AS (
    SELECT workflow_namespace, workflow_uid
    FROM workflow_comms.reconcile_queue
    WHERE state IN ('queued', 'running') AND next_try_at <= now()
    ORDER BY next_try_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
UPDATE workflow_comms.reconcile_queue AS entry
SET state = 'running', attempts = entry.attempts + 1, started_at = now(), finished_at = NULL,
    next_try_at = now() + %(lease)s::interval
FROM due
WHERE entry.workflow_namespace = due.workflow_namespace AND entry.workflow_uid = due.workflow_uid
RETURNING
    entry.workflow_namespace, entry.workflow_uid, entry.workflow_name, entry.run_id, entry.payload::text,
    entry.revision, entry.attempts, entry.queued_at
