-- Queues a run whose controller says that it is complete, and returns where it stands. What is told again is laid over what
-- was told before (migration 0019), in one statement, though two tell at once. The same word again changes nothing, unless
-- the run was given up or had no artifacts: they may be there by now.
WITH given (workflow_namespace, workflow_uid, workflow_name, run_id, payload) AS (
    VALUES (%(namespace)s::text, %(uid)s::text, %(name)s::text, %(run_id)s::text, %(payload)s::jsonb)
),
queued AS (
    INSERT INTO workflow_comms.reconcile_queue AS entry (
        workflow_namespace, workflow_uid, workflow_name, run_id, payload
    )
    SELECT workflow_namespace, workflow_uid, workflow_name, run_id, workflow_comms.told_again('{}', payload) FROM given
    ON CONFLICT (workflow_namespace, workflow_uid) DO UPDATE SET
        -- Who knows the uid alone gives it for the name.
        workflow_name = CASE
            WHEN excluded.workflow_name = excluded.workflow_uid THEN entry.workflow_name ELSE excluded.workflow_name END,
        run_id = coalesce(excluded.run_id, entry.run_id),
        payload = workflow_comms.told_again(entry.payload, excluded.payload),
        revision = entry.revision + 1,
        state = 'queued',
        attempts = 0,
        last_error = NULL,
        queued_at = now(),
        next_try_at = now()
    WHERE entry.payload <> workflow_comms.told_again(entry.payload, excluded.payload) OR entry.state = 'failed'
        OR entry.report @> '{"artifacts": 0, "gone": 0}' AND entry.report -> 'absent' = '{}'
    RETURNING state, queued_at
)
SELECT state, queued_at FROM queued
UNION ALL
SELECT state, queued_at
FROM workflow_comms.reconcile_queue
JOIN given USING (workflow_namespace, workflow_uid)
WHERE NOT EXISTS (SELECT FROM queued)
LIMIT 1
