-- Renews the lease of runs that are still being worked on; %(claims)s is a JSON array.
UPDATE workflow_comms.reconcile_queue AS entry
SET next_try_at = now() + %(lease)s::interval
FROM jsonb_to_recordset(%(claims)s::jsonb) AS held (
    workflow_namespace text, workflow_uid text, revision integer, attempts integer
)
WHERE entry.workflow_namespace = held.workflow_namespace AND entry.workflow_uid = held.workflow_uid
    AND entry.revision = held.revision AND entry.attempts = held.attempts AND entry.state = 'running'
