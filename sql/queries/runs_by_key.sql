-- The runs with these keys; two arrays of one length, namespaces and uids.
SELECT workflow_namespace, workflow_uid, workflow_name, run_id, runtime,
       workflow_comms.shown_state(state, last_at, %(silent_since)s::timestamptz) AS state,
       messages, tool_calls, errors, agents, first_at, last_at, started_at, finished_at, last_agent, last_content,
       pruned, attrs::text
FROM workflow_comms.runs
JOIN unnest(%(namespaces)s::text[], %(uids)s::text[]) AS wanted (namespace, uid)
  ON workflow_namespace = wanted.namespace AND workflow_uid = wanted.uid
ORDER BY coalesce(last_at, finished_at), workflow_namespace, workflow_uid
