-- What became of the reconciliation of one run with its artifacts; none where it was never asked for.
SELECT state, attempts, last_error, report::text, queued_at, started_at, finished_at
FROM workflow_comms.reconcile_queue
WHERE workflow_namespace = %(namespace)s::text AND workflow_uid = %(uid)s::text
