-- What went wrong in one run, in reading order: a giant has little of it among what it says, and it is what people look
-- for. Costs only what goes wrong.
CREATE INDEX agent_messages_errors
    ON workflow_comms.agent_messages (workflow_namespace, workflow_uid, channel, "timestamp", seq)
    WHERE workflow_comms.is_wrong(kind, attrs);
