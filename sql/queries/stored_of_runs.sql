-- The keys and times of everything that some runs have said; two arrays of one length, namespaces and uids.
SELECT message.dedupe_key, message."timestamp"
FROM unnest(%(namespaces)s::text[], %(uids)s::text[]) AS wanted (namespace, uid)
JOIN workflow_comms.agent_messages AS message
    ON message.workflow_namespace = wanted.namespace AND message.workflow_uid = wanted.uid AND message.channel = 'run'
