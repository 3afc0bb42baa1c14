-- Queues runs that have ended in a stretch of time and that nobody has queued; their folder tells what they have left.
INSERT INTO workflow_comms.reconcile_queue (workflow_namespace, workflow_uid, workflow_name, run_id, payload)
SELECT
    workflow_namespace, workflow_uid, workflow_name, run_id,
    jsonb_build_object(
        'metadata',
        jsonb_build_object('namespace', workflow_namespace, 'uid', workflow_uid, 'name', workflow_name),
        'status',
        jsonb_build_object('phase', coalesce(phase, ''), 'startedAt', started_at, 'finishedAt', finished_at),
        'swept', true
    )
FROM workflow_comms.runs
WHERE finished_at >= %(since)s AND finished_at < %(until)s AND pruned = 0
    -- Of a run that is known by its completion alone no message has come at all.
    AND (last_at IS NULL OR last_at < %(until)s)
ON CONFLICT (workflow_namespace, workflow_uid) DO NOTHING
