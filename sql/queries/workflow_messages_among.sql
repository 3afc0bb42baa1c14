-- Of some messages those that one workflow said, in the order of commits. Of what the general channel says under its name
-- all save what its own channel says too, at about the same time.
SELECT id::text, seq, workflow_uid, workflow_name, workflow_namespace, run_id, step_id, agent_id, role, kind, "timestamp",
       channel, stage, content, attrs::text, created_at, total
FROM (
    SELECT picked.*, size, sum(size) OVER (ORDER BY seq) AS total
    FROM (
        SELECT *
        FROM (
            -- By seq and by nothing else, whatever the planner expects of the rest.
            SELECT * FROM workflow_comms.agent_messages
            WHERE channel = ANY (%(channels)s::text[]) AND seq = ANY (%(seqs)s::bigint[])
            OFFSET 0
        ) AS message
        WHERE workflow_namespace = %(namespace)s::text
          AND workflow_uid = %(uid)s::text
          AND (%(name)s::text IS NULL OR workflow_name = %(name)s::text)
          AND (%(agent)s::text IS NULL OR agent_id = %(agent)s::text)
          AND (%(kinds)s::text[] IS NULL OR kind = ANY (%(kinds)s::text[]))
          AND NOT (
            %(general)s::boolean AND channel = 'general' AND EXISTS (
                SELECT FROM workflow_comms.agent_messages AS twin
                WHERE twin.workflow_namespace = message.workflow_namespace
                  AND twin.workflow_uid = message.workflow_uid
                  AND twin.channel = 'run'
                  AND twin."timestamp" BETWEEN message."timestamp" - interval '5s' AND message."timestamp" + interval '5s'
                  AND twin.agent_id = message.agent_id
                  AND twin.kind = message.kind
                  AND twin.content = message.content
            )
          )
        ORDER BY seq
        LIMIT %(limit)s::bigint
    ) AS picked
    CROSS JOIN LATERAL (SELECT octet_length(content) + octet_length(attrs::text) AS size) AS measured
) AS page
WHERE total - size < %(max_bytes)s::bigint
ORDER BY seq
