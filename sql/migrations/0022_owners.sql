-- Whose an artifact is: what the runs of the queue are called, and for which run an artifact was read.

CREATE INDEX reconcile_queue_by_name ON workflow_comms.reconcile_queue (workflow_name);
CREATE INDEX reconcile_queue_by_uid ON workflow_comms.reconcile_queue (workflow_uid);
CREATE INDEX artifacts_by_location ON workflow_comms.artifacts USING hash (location);
