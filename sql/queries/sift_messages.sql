-- Of some messages those that fit a selection: the places and the sizes of the first so many in the direction of the search.
-- Looked through in that order, so that no more of them are read than are wanted. Of what the general channel says, what the run's own channel says as well at about the same time is left out.
SELECT "timestamp", seq, size
FROM (
    SELECT message."timestamp", seq, content, attrs, octet_length(content) + pg_column_size(attrs) AS size,
           CASE WHEN %(backwards)s::boolean THEN "timestamp" END AS last_at,
           CASE WHEN %(backwards)s::boolean THEN seq END AS last_seq
    FROM (
        -- By seq and by nothing else, whatever the planner expects of the rest.
        SELECT * FROM workflow_comms.agent_messages
        WHERE channel = ANY (%(channels)s::text[]) AND seq = ANY (%(seqs)s::bigint[])
        OFFSET 0
    ) AS message
    WHERE ("timestamp", seq) > (%(low_at)s::timestamptz, %(low_seq)s::bigint)
      AND ("timestamp", seq) < (%(high_at)s::timestamptz, %(high_seq)s::bigint)
      AND (%(namespace)s::text IS NULL OR workflow_namespace = %(namespace)s::text)
      AND (%(uid)s::text IS NULL OR workflow_uid = %(uid)s::text)
      AND (%(name)s::text IS NULL OR workflow_name = %(name)s::text)
      AND (%(claimed)s::text IS NULL OR %(claimed)s::text IN (workflow_uid, workflow_name, run_id))
      AND (%(agent)s::text IS NULL OR agent_id = %(agent)s::text)
      AND (%(kinds)s::text[] IS NULL OR kind = ANY (%(kinds)s::text[]))
      AND (%(repository)s::text IS NULL OR attrs ->> 'repository' = %(repository)s::text)
      AND (%(issue)s::text IS NULL OR attrs ->> 'issueNumber' = %(issue)s::text)
      AND (%(branch)s::text IS NULL OR attrs ->> 'branch' = %(branch)s::text)
      AND (NOT %(errors)s::boolean OR workflow_comms.is_wrong(kind, attrs))
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
    ORDER BY last_at DESC, last_seq DESC, "timestamp", seq
    OFFSET 0
) AS fitting
CROSS JOIN LATERAL (
    SELECT CASE WHEN %(like_0)s::text[] IS NOT NULL THEN lower(concat(content, E'\n', attrs ->> 'tool')) END AS words OFFSET 0
) AS said
WHERE (%(like_0)s::text[] IS NULL OR words LIKE ANY (%(like_0)s::text[]))
  AND (%(like_1)s::text[] IS NULL OR words LIKE ANY (%(like_1)s::text[]))
  AND (%(like_2)s::text[] IS NULL OR words LIKE ANY (%(like_2)s::text[]))
  AND (%(like_3)s::text[] IS NULL OR words LIKE ANY (%(like_3)s::text[]))
  AND (%(like_4)s::text[] IS NULL OR words LIKE ANY (%(like_4)s::text[]))
  AND (%(like_5)s::text[] IS NULL OR words LIKE ANY (%(like_5)s::text[]))
  AND (%(like_6)s::text[] IS NULL OR words LIKE ANY (%(like_6)s::text[]))
  AND (%(like_7)s::text[] IS NULL OR words LIKE ANY (%(like_7)s::text[]))
  AND (%(like_8)s::text[] IS NULL OR words LIKE ANY (%(like_8)s::text[]))
  AND (%(like_9)s::text[] IS NULL OR words LIKE ANY (%(like_9)s::text[]))
  AND (%(like_10)s::text[] IS NULL OR words LIKE ANY (%(like_10)s::text[]))
  AND (%(like_11)s::text[] IS NULL OR words LIKE ANY (%(like_11)s::text[]))
  AND (%(like_12)s::text[] IS NULL OR words LIKE ANY (%(like_12)s::text[]))
  AND (%(like_13)s::text[] IS NULL OR words LIKE ANY (%(like_13)s::text[]))
  AND (%(like_14)s::text[] IS NULL OR words LIKE ANY (%(like_14)s::text[]))
  AND (%(like_15)s::text[] IS NULL OR words LIKE ANY (%(like_15)s::text[]))
ORDER BY last_at DESC, last_seq DESC, "timestamp", seq
LIMIT %(limit)s::bigint
