-- What the general channel says under each of the names of a run that says nothing in a channel of its own: such a run has no
-- row from which its other names could be read. Costs only what is said in the general channel.
CREATE INDEX agent_messages_claimed_uid
    ON workflow_comms.agent_messages (workflow_uid, "timestamp", seq) WHERE channel = 'general';
CREATE INDEX agent_messages_claimed_name
    ON workflow_comms.agent_messages (workflow_name, "timestamp", seq) WHERE channel = 'general';
CREATE INDEX agent_messages_claimed_run_id
    ON workflow_comms.agent_messages (run_id, "timestamp", seq) WHERE channel = 'general';
