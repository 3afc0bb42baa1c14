-- The live cursor after which some namespaces said their newest so many messages in the general channel up to a cursor.
-- Null where they said none.
SELECT min(seq) - 1
FROM (
    SELECT seq
    FROM unnest(%(namespaces)s::text[]) AS part (namespace)
    CROSS JOIN LATERAL (
        SELECT seq
        FROM workflow_comms.agent_messages
        WHERE channel = 'general'
          AND workflow_namespace = part.namespace
          AND (%(uid)s::text IS NULL OR workflow_uid = %(uid)s::text)
          AND (%(name)s::text IS NULL OR workflow_name = %(name)s::text)
          AND (%(agent)s::text IS NULL OR agent_id = %(agent)s::text)
          AND (%(kinds)s::text[] IS NULL OR kind = ANY (%(kinds)s::text[]))
          AND seq <= %(seq)s::bigint
        ORDER BY seq DESC
        LIMIT %(limit)s::bigint
    ) AS said
    ORDER BY seq DESC
    LIMIT %(limit)s::bigint
) AS newest
