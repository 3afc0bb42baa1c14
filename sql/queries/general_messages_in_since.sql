-- What some namespaces said in the general channel after a live cursor, in the order of commits.
SELECT id::text, seq, workflow_uid, workflow_name, workflow_namespace, run_id, step_id, agent_id, role, kind, "timestamp",
       channel, stage, content, attrs::text, created_at, total
FROM (
    SELECT picked.*, size, sum(size) OVER (ORDER BY seq) AS total
    FROM (
        SELECT said.*
        FROM unnest(%(namespaces)s::text[]) AS part (namespace)
        CROSS JOIN LATERAL (
            SELECT *
            FROM workflow_comms.agent_messages
            WHERE channel = 'general'
              AND workflow_namespace = part.namespace
              AND (%(uid)s::text IS NULL OR workflow_uid = %(uid)s::text)
              AND (%(name)s::text IS NULL OR workflow_name = %(name)s::text)
              AND (%(agent)s::text IS NULL OR agent_id = %(agent)s::text)
              AND (%(kinds)s::text[] IS NULL OR kind = ANY (%(kinds)s::text[]))
              AND seq > %(seq)s::bigint
            ORDER BY seq
            LIMIT %(limit)s::bigint
        ) AS said
        ORDER BY seq
        LIMIT %(limit)s::bigint
    ) AS picked
    CROSS JOIN LATERAL (SELECT octet_length(content) + octet_length(attrs::text) AS size) AS measured
) AS page
WHERE total - size < %(max_bytes)s::bigint
ORDER BY seq
