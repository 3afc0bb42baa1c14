-- The keys and times of everything that some runs have said, 40 bytes a message: 32 hex digits, and the time as
-- Postgres sends it. A row for each would take the driver longer than all the rest. Two arrays of one length.
SELECT string_agg(textsend(message.dedupe_key) || timestamptz_send(message."timestamp"), '')
FROM unnest(%(namespaces)s::text[], %(uids)s::text[]) AS wanted (namespace, uid)
JOIN workflow_comms.agent_messages AS message
    ON message.workflow_namespace = wanted.namespace AND message.workflow_uid = wanted.uid AND message.channel = 'run'
WHERE length(message.dedupe_key) = 32
