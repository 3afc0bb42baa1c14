-- The first places in reading order where one workflow said something, between two of them; read from the index alone:
-- how many they are, their cursors, and the last of them.
SELECT count(*), string_agg(seq::text, ','), (array_agg("timestamp"))[count(*)::int], (array_agg(seq))[count(*)::int]
FROM (
    SELECT "timestamp", seq
    FROM (
        (
            SELECT "timestamp", seq
            FROM workflow_comms.agent_messages
            WHERE workflow_namespace = %(namespace)s::text
              AND workflow_uid = %(uid)s::text
              AND channel = %(channel)s::text
              AND (%(kinds)s::text[] IS NULL OR kind = ANY (%(kinds)s::text[]))
              AND (NOT %(errors)s::boolean OR workflow_comms.is_wrong(kind, attrs))
              AND ("timestamp", seq) > (%(low_at)s::timestamptz, %(low_seq)s::bigint)
              AND ("timestamp", seq) < (%(high_at)s::timestamptz, %(high_seq)s::bigint)
            ORDER BY "timestamp", seq
            LIMIT %(limit)s::bigint
        )
        UNION ALL
        (
            SELECT "timestamp", seq
            FROM workflow_comms.agent_messages
            WHERE %(general)s::boolean
              AND workflow_namespace = %(namespace)s::text
              AND workflow_uid = %(uid)s::text
              AND channel = 'general'
              AND (%(kinds)s::text[] IS NULL OR kind = ANY (%(kinds)s::text[]))
              AND (NOT %(errors)s::boolean OR workflow_comms.is_wrong(kind, attrs))
              AND ("timestamp", seq) > (%(low_at)s::timestamptz, %(low_seq)s::bigint)
              AND ("timestamp", seq) < (%(high_at)s::timestamptz, %(high_seq)s::bigint)
            ORDER BY "timestamp", seq
            LIMIT %(limit)s::bigint
        )
    ) AS places
    ORDER BY "timestamp", seq
    LIMIT %(limit)s::bigint
) AS places
