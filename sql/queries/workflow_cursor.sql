-- The live cursor after which one workflow said its newest so many messages up to a cursor; null where it said none.
-- Sorted by an expression, lest the planner walk everybody's tail to find one workflow in it.
SELECT min(seq) - 1
FROM (
    SELECT seq
    FROM workflow_comms.agent_messages
    WHERE workflow_namespace = %(namespace)s::text
      AND workflow_uid = %(uid)s::text
      AND channel = %(channel)s::text
      AND (%(name)s::text IS NULL OR workflow_name = %(name)s::text)
      AND (%(agent)s::text IS NULL OR agent_id = %(agent)s::text)
      AND (%(kinds)s::text[] IS NULL OR kind = ANY (%(kinds)s::text[]))
      AND seq <= %(seq)s::bigint
    ORDER BY seq + 0 DESC
    LIMIT %(limit)s::bigint
) AS newest
