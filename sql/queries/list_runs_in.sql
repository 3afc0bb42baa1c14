-- The same as list_runs, of some namespaces: each one's part is read from its index, no further than it may be wanted.
SELECT workflow_namespace, workflow_uid, workflow_name, run_id, runtime,
       workflow_comms.shown_state(state, last_at, %(silent_since)s::timestamptz) AS state,
       messages, tool_calls, errors, agents, first_at, last_at, started_at, finished_at, last_agent, last_content,
       pruned, attrs::text, fits, number = %(most)s::bigint AS is_last
FROM (
    SELECT *, row_number() OVER (ORDER BY active_at DESC, workflow_namespace, workflow_uid) AS number
    FROM (
        SELECT run.*
        FROM unnest(%(namespaces)s::text[]) AS part (namespace)
        CROSS JOIN LATERAL (
            SELECT *
            FROM (
                SELECT *, CASE WHEN last_at IS NULL THEN finished_at ELSE last_at END AS active_at,
                       CASE WHEN first_at IS NOT NULL THEN first_at WHEN started_at IS NOT NULL THEN started_at
                            ELSE finished_at END AS under_way_from
                FROM workflow_comms.runs
            ) AS known
            WHERE workflow_namespace = part.namespace
              AND active_at >= %(since)s::timestamptz
              AND active_at < %(last_before)s::timestamptz
              AND (%(until)s::timestamptz IS NULL OR under_way_from < %(until)s::timestamptz)
              AND (%(state)s::text IS NULL OR state = %(state)s::text)
              AND active_at <= coalesce(%(before_at)s::timestamptz, 'infinity')
              AND (
                %(before_at)s::timestamptz IS NULL
                OR active_at < %(before_at)s::timestamptz
                OR (workflow_namespace, workflow_uid) > (%(before_namespace)s::text, %(before_uid)s::text)
              )
            ORDER BY active_at DESC, workflow_uid
            LIMIT %(most)s::bigint
        ) AS run
        ORDER BY active_at DESC, workflow_namespace, workflow_uid
        LIMIT %(most)s::bigint
    ) AS next
) AS run
CROSS JOIN LATERAL (
    SELECT CASE WHEN %(word_0)s::text IS NOT NULL THEN
        lower(concat_ws(E'\n', workflow_name, workflow_uid, run_id, array_to_string(agents, E'\n'), last_content))
    END AS words
    OFFSET 0
) AS said
CROSS JOIN LATERAL (
    SELECT (%(agent)s::text IS NULL OR agents @> ARRAY[%(agent)s::text])
       AND (
        %(word_0)s::text IS NULL
        OR strpos(words, %(word_0)s::text) > 0
        OR strpos(words, %(word_1)s::text) > 0
        OR strpos(words, %(word_2)s::text) > 0
       ) IS TRUE AS fits
    OFFSET 0
) AS judged
WHERE fits OR number = %(most)s::bigint
ORDER BY active_at DESC, workflow_namespace, workflow_uid
LIMIT %(limit)s::bigint
