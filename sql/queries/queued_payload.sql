-- What is known of a run that was queued before, as JSON.
SELECT payload::text
FROM workflow_comms.reconcile_queue
WHERE workflow_namespace = %(namespace)s::text AND workflow_uid = %(uid)s::text
