-- How long the run that is due first has been waiting for somebody to work on it, in seconds; 0 where none is due.
SELECT coalesce(extract(epoch FROM now() - min(next_try_at)), 0)::double precision
FROM workflow_comms.reconcile_queue
WHERE state IN ('queued', 'running') AND next_try_at <= now()
