-- The keys of everything that some runs have said, separated by commas; as in stored_of_runs.sql, and half the work.
SELECT string_agg(message.dedupe_key, ',')
FROM unnest(%(namespaces)s::text[], %(uids)s::text[]) AS wanted (namespace, uid)
JOIN workflow_comms.agent_messages AS message
    ON message.workflow_namespace = wanted.namespace AND message.workflow_uid = wanted.uid AND message.channel = 'run'
WHERE length(message.dedupe_key) = 32
