-- What one workflow said last between two places in reading order, oldest first.
-- Perhaps with what the general channel says under its name, save what it says in its own channel at about the same time.
SELECT id::text, seq, workflow_uid, workflow_name, workflow_namespace, run_id, step_id, agent_id, role, kind, "timestamp",
       channel, stage, content, attrs::text, created_at, total
FROM (
    SELECT picked.*, size, sum(size) OVER (ORDER BY "timestamp" DESC, seq DESC) AS total
    FROM (
        (
            SELECT *
            FROM workflow_comms.agent_messages
            WHERE workflow_namespace = %(namespace)s::text
              AND workflow_uid = %(uid)s::text
              AND channel = %(channel)s::text
              AND (%(kinds)s::text[] IS NULL OR kind = ANY (%(kinds)s::text[]))
              AND (NOT %(errors)s::boolean OR workflow_comms.is_wrong(kind, attrs))
              AND ("timestamp", seq) > (%(low_at)s::timestamptz, %(low_seq)s::bigint)
              AND ("timestamp", seq) < (%(high_at)s::timestamptz, %(high_seq)s::bigint)
            ORDER BY "timestamp" DESC, seq DESC
            LIMIT %(limit)s::bigint
        )
        UNION ALL
        (
            SELECT *
            FROM workflow_comms.agent_messages AS message
            WHERE %(general)s::boolean
              AND workflow_namespace = %(namespace)s::text
              AND workflow_uid = %(uid)s::text
              AND channel = 'general'
              AND (%(kinds)s::text[] IS NULL OR kind = ANY (%(kinds)s::text[]))
              AND (NOT %(errors)s::boolean OR workflow_comms.is_wrong(kind, attrs))
              AND ("timestamp", seq) > (%(low_at)s::timestamptz, %(low_seq)s::bigint)
              AND ("timestamp", seq) < (%(high_at)s::timestamptz, %(high_seq)s::bigint)
              AND NOT EXISTS (
                  SELECT FROM workflow_comms.agent_messages AS twin
                  WHERE twin.workflow_namespace = message.workflow_namespace
                    AND twin.workflow_uid = message.workflow_uid
                    AND twin.channel = 'run'
                    AND twin."timestamp" BETWEEN message."timestamp" - interval '5s' AND message."timestamp" + interval '5s'
                    AND twin.agent_id = message.agent_id
                    AND twin.kind = message.kind
                    AND twin.content = message.content
                  -- Each by itself: a giant is not read from end to end for a few.
                  OFFSET 0
              )
            ORDER BY "timestamp" DESC, seq DESC
            LIMIT %(limit)s::bigint
        )
        ORDER BY "timestamp" DESC, seq DESC
        LIMIT %(limit)s::bigint
    ) AS picked
    CROSS JOIN LATERAL (SELECT octet_length(content) + octet_length(attrs::text) AS size) AS measured
) AS page
WHERE total - size < %(max_bytes)s::bigint
ORDER BY "timestamp", seq
