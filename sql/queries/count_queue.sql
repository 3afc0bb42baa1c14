-- How many completed runs stand where in the queue of the reconciliation.
SELECT state, count(*) FROM workflow_comms.reconcile_queue GROUP BY state
