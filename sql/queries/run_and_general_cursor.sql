-- The live cursor after which one workflow, and the general channel under its name, said the newest so many messages.
-- Up to a cursor; null where there are none. What is said in both channels counts twice: a little more is no harm.
SELECT min(seq) - 1
FROM (
    SELECT seq
    FROM workflow_comms.agent_messages
    WHERE workflow_namespace = %(namespace)s::text
      AND workflow_uid = %(uid)s::text
      AND channel IN ('run', 'general')
      AND (%(name)s::text IS NULL OR workflow_name = %(name)s::text)
      AND (%(agent)s::text IS NULL OR agent_id = %(agent)s::text)
      AND (%(kinds)s::text[] IS NULL OR kind = ANY (%(kinds)s::text[]))
      AND seq <= %(seq)s::bigint
    ORDER BY seq + 0 DESC
    LIMIT %(limit)s::bigint
) AS newest
