-- The tokens that each thread of one run had used when it told so last.
SELECT DISTINCT ON (attrs ->> 'thread_id') attrs ->> 'thread_id', (attrs -> 'usage')::text
FROM workflow_comms.agent_messages
WHERE workflow_namespace = %(namespace)s::text AND workflow_uid = %(uid)s::text AND channel = 'run'
  AND kind = 'status' AND jsonb_typeof(attrs -> 'usage') = 'object'
ORDER BY attrs ->> 'thread_id', "timestamp" DESC, seq DESC
