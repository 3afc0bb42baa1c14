-- Of each thread of one run, by agent: the tokens that it had used when it told so last, when that was, and when its
-- last turn began.
SELECT agent_id, attrs ->> 'thread_id',
    (array_agg((attrs -> 'usage')::text ORDER BY "timestamp" DESC, seq DESC)
        FILTER (WHERE jsonb_typeof(attrs -> 'usage') = 'object'))[1],
    max("timestamp") FILTER (WHERE jsonb_typeof(attrs -> 'usage') = 'object'),
    max("timestamp") FILTER (WHERE attrs ->> 'event_type' IN ('turn.started', 'task_started'))
FROM workflow_comms.agent_messages
WHERE workflow_namespace = %(namespace)s::text AND workflow_uid = %(uid)s::text AND channel = 'run' AND kind = 'status'
  AND (jsonb_typeof(attrs -> 'usage') = 'object' OR attrs ->> 'event_type' IN ('turn.started', 'task_started'))
GROUP BY agent_id, attrs ->> 'thread_id'
