-- The live cursor after which the general channel got its newest so many messages under any of a run's names, up to a cursor.
-- Null where it got none. Sorted by an expression, lest the planner walk all that was said there.
SELECT min(seq) - 1
FROM (
    (
        SELECT seq
        FROM workflow_comms.agent_messages
        WHERE channel = 'general'
          AND workflow_uid = %(claimed)s::text
          AND (%(namespace)s::text IS NULL OR workflow_namespace = %(namespace)s::text)
          AND (%(uid)s::text IS NULL OR workflow_uid = %(uid)s::text)
          AND (%(name)s::text IS NULL OR workflow_name = %(name)s::text)
          AND (%(agent)s::text IS NULL OR agent_id = %(agent)s::text)
          AND (%(kinds)s::text[] IS NULL OR kind = ANY (%(kinds)s::text[]))
          AND seq <= %(seq)s::bigint
        ORDER BY seq + 0 DESC
        LIMIT %(limit)s::bigint
    )
    UNION
    (
        SELECT seq
        FROM workflow_comms.agent_messages
        WHERE channel = 'general'
          AND workflow_name = %(claimed)s::text
          AND (%(namespace)s::text IS NULL OR workflow_namespace = %(namespace)s::text)
          AND (%(uid)s::text IS NULL OR workflow_uid = %(uid)s::text)
          AND (%(name)s::text IS NULL OR workflow_name = %(name)s::text)
          AND (%(agent)s::text IS NULL OR agent_id = %(agent)s::text)
          AND (%(kinds)s::text[] IS NULL OR kind = ANY (%(kinds)s::text[]))
          AND seq <= %(seq)s::bigint
        ORDER BY seq + 0 DESC
        LIMIT %(limit)s::bigint
    )
    UNION
    (
        SELECT seq
        FROM workflow_comms.agent_messages
        WHERE channel = 'general'
          AND run_id = %(claimed)s::text
          AND (%(namespace)s::text IS NULL OR workflow_namespace = %(namespace)s::text)
          AND (%(uid)s::text IS NULL OR workflow_uid = %(uid)s::text)
          AND (%(name)s::text IS NULL OR workflow_name = %(name)s::text)
          AND (%(agent)s::text IS NULL OR agent_id = %(agent)s::text)
          AND (%(kinds)s::text[] IS NULL OR kind = ANY (%(kinds)s::text[]))
          AND seq <= %(seq)s::bigint
        ORDER BY seq + 0 DESC
        LIMIT %(limit)s::bigint
    )
    ORDER BY seq DESC
    LIMIT %(limit)s::bigint
) AS newest
