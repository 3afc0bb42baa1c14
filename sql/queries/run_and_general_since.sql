-- What one workflow said after a live cursor and what the general channel says under its name, in the order of commits.
-- Of the latter all save what the workflow's own channel says too, at about the same time.
SELECT id::text, seq, workflow_uid, workflow_name, workflow_namespace, run_id, step_id, agent_id, role, kind, "timestamp",
       channel, stage, content, attrs::text, created_at, total
FROM (
    SELECT picked.*, size, sum(size) OVER (ORDER BY seq) AS total
    FROM (
        SELECT *
        FROM workflow_comms.agent_messages AS message
        WHERE workflow_namespace = %(namespace)s::text
          AND workflow_uid = %(uid)s::text
          AND channel IN ('run', 'general')
          AND (%(name)s::text IS NULL OR workflow_name = %(name)s::text)
          AND (%(agent)s::text IS NULL OR agent_id = %(agent)s::text)
          AND (%(kinds)s::text[] IS NULL OR kind = ANY (%(kinds)s::text[]))
          AND seq > %(seq)s::bigint
          AND (channel = 'run' OR NOT EXISTS (
              SELECT FROM workflow_comms.agent_messages AS twin
              WHERE twin.workflow_namespace = message.workflow_namespace
                AND twin.workflow_uid = message.workflow_uid
                AND twin.channel = 'run'
                AND twin."timestamp" BETWEEN message."timestamp" - interval '5s' AND message."timestamp" + interval '5s'
                AND twin.agent_id = message.agent_id
                AND twin.kind = message.kind
                AND twin.content = message.content
          ))
        -- By an expression, lest the planner walk everybody's tail to find one workflow in it.
        ORDER BY seq + 0
        LIMIT %(limit)s::bigint
    ) AS picked
    CROSS JOIN LATERAL (SELECT octet_length(content) + octet_length(attrs::text) AS size) AS measured
) AS page
WHERE total - size < %(max_bytes)s::bigint
ORDER BY seq
