-- Queues a run anew whose row is held (hold_queue.sql), and returns where it stands; the payload is all that is known of it by
-- now. The same word again changes nothing, unless the run was given up or had no artifacts: they may be there by now.
WITH queued AS (
    UPDATE workflow_comms.reconcile_queue AS entry
    SET
        -- Who knows the uid alone gives it for the name.
        workflow_name = CASE WHEN %(name)s::text = %(uid)s::text THEN entry.workflow_name ELSE %(name)s::text END,
        run_id = coalesce(%(run_id)s::text, entry.run_id),
        payload = %(payload)s::jsonb,
        revision = entry.revision + 1,
        state = 'queued',
        attempts = 0,
        last_error = NULL,
        queued_at = now(),
        next_try_at = now()
    WHERE entry.workflow_namespace = %(namespace)s::text AND entry.workflow_uid = %(uid)s::text
        AND (
            entry.payload <> %(payload)s::jsonb OR entry.state = 'failed'
            OR entry.report @> '{"artifacts": 0, "gone": 0}' AND entry.report -> 'absent' = '{}'
        )
    RETURNING state, queued_at
)
SELECT state, queued_at FROM queued
UNION ALL
SELECT state, queued_at
FROM workflow_comms.reconcile_queue
WHERE workflow_namespace = %(namespace)s::text AND workflow_uid = %(uid)s::text AND NOT EXISTS (SELECT FROM queued)
LIMIT 1
