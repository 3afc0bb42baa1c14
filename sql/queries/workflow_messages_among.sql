-- Of some messages those that one workflow said, in the order of commits.
SELECT id::text, seq, workflow_uid, workflow_name, workflow_namespace, run_id, step_id, agent_id, role, kind, "timestamp",
       channel, stage, content, attrs::text, created_at, total
FROM (
    SELECT picked.*, size, sum(size) OVER (ORDER BY seq) AS total
    FROM (
        SELECT *
        FROM (
            -- By seq and by nothing else, whatever the planner expects of the rest.
            SELECT * FROM workflow_comms.agent_messages
            WHERE channel = %(channel)s::text AND seq = ANY (%(seqs)s::bigint[])
            OFFSET 0
        ) AS message
        WHERE workflow_namespace = %(namespace)s::text
          AND workflow_uid = %(uid)s::text
          AND (%(name)s::text IS NULL OR workflow_name = %(name)s::text)
          AND (%(agent)s::text IS NULL OR agent_id = %(agent)s::text)
          AND (%(kinds)s::text[] IS NULL OR kind = ANY (%(kinds)s::text[]))
        ORDER BY seq
        LIMIT %(limit)s::bigint
    ) AS picked
    CROSS JOIN LATERAL (SELECT octet_length(content) + octet_length(attrs::text) AS size) AS measured
) AS page
WHERE total - size < %(max_bytes)s::bigint
ORDER BY seq
