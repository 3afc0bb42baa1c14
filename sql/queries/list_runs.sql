-- The runs with the newest activity first, from a place in that order on, perhaps in one state or with some words.
SELECT workflow_namespace, workflow_uid, workflow_name, run_id, runtime,
       workflow_comms.shown_state(state, last_at, %(silent_since)s::timestamptz) AS state,
       messages, tool_calls, errors, agents, first_at, last_at, started_at, finished_at, last_agent, last_content,
       pruned, attrs::text
FROM workflow_comms.runs
WHERE last_at >= %(since)s::timestamptz
  AND last_at < %(until)s::timestamptz
  AND (%(namespace)s::text IS NULL OR workflow_namespace = %(namespace)s::text)
  AND (%(state)s::text IS NULL OR state = %(state)s::text)
  AND (%(agent)s::text IS NULL OR agents @> ARRAY[%(agent)s::text])
  AND (
    %(word_0)s::text IS NULL
    OR strpos(
        lower(concat_ws(E'\n', workflow_name, workflow_uid, run_id, array_to_string(agents, E'\n'), last_content)), %(word_0)s::text
    ) > 0
    OR (%(word_1)s::text IS NOT NULL AND strpos(
        lower(concat_ws(E'\n', workflow_name, workflow_uid, run_id, array_to_string(agents, E'\n'), last_content)), %(word_1)s::text
    ) > 0)
    OR (%(word_2)s::text IS NOT NULL AND strpos(
        lower(concat_ws(E'\n', workflow_name, workflow_uid, run_id, array_to_string(agents, E'\n'), last_content)), %(word_2)s::text
    ) > 0)
  )
  AND last_at <= coalesce(%(before_at)s::timestamptz, 'infinity')
  AND (
    %(before_at)s::timestamptz IS NULL
    OR last_at < %(before_at)s::timestamptz
    OR (workflow_namespace, workflow_uid) > (%(before_namespace)s::text, %(before_uid)s::text)
  )
ORDER BY last_at DESC, workflow_namespace, workflow_uid
LIMIT %(limit)s::bigint
