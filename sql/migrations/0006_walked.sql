-- Where the next prune begins: nothing of the channel is left up to this cursor.
-- Without it each prune would walk over whatever was deleted since the last vacuum.
ALTER TABLE workflow_comms.pruned ADD COLUMN walked bigint NOT NULL DEFAULT 0;
