-- Queues a run whose controller says that it is complete, and returns where it stands. Of one that was queued before it returns
-- nothing and locks the row until the transaction ends: what is told at once is laid over each other, and no word is lost.
INSERT INTO workflow_comms.reconcile_queue AS entry (
    workflow_namespace, workflow_uid, workflow_name, run_id, payload
)
VALUES (%(namespace)s::text, %(uid)s::text, %(name)s::text, %(run_id)s::text, %(payload)s::jsonb)
ON CONFLICT (workflow_namespace, workflow_uid) DO UPDATE SET workflow_name = entry.workflow_name WHERE false
RETURNING state, queued_at
