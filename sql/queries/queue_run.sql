-- Queues a run whose controller says that it is complete, and returns where it stands; the same word again changes nothing.
WITH given (workflow_namespace, workflow_uid, workflow_name, run_id, payload) AS (
    VALUES (%(namespace)s::text, %(uid)s::text, %(name)s::text, %(run_id)s::text, %(payload)s::jsonb)
),
queued AS (
    INSERT INTO workflow_comms.reconcile_queue AS entry (
        workflow_namespace, workflow_uid, workflow_name, run_id, payload
    )
    SELECT * FROM given
    ON CONFLICT (workflow_namespace, workflow_uid) DO UPDATE SET
        workflow_name = excluded.workflow_name,
        run_id = coalesce(excluded.run_id, entry.run_id),
        payload = excluded.payload,
        revision = entry.revision + 1,
        state = 'queued',
        attempts = 0,
        last_error = NULL,
        queued_at = now(),
        next_try_at = now()
    WHERE entry.payload <> excluded.payload
    RETURNING state, queued_at
)
SELECT state, queued_at FROM queued
UNION ALL
SELECT state, queued_at
FROM workflow_comms.reconcile_queue
JOIN given USING (workflow_namespace, workflow_uid)
WHERE NOT EXISTS (SELECT FROM queued)
LIMIT 1
