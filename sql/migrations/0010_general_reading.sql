-- One namespace's part of the general channel in reading order: whoever reads a few namespaces would otherwise walk over
-- what all others said there to find theirs. Costs only what is said there.
CREATE INDEX agent_messages_general_reading
    ON workflow_comms.agent_messages (workflow_namespace, "timestamp", seq) WHERE channel = 'general';
