-- The first places in reading order where something was said in the general channel under any of a run's names, between two of them.
-- Each name has its index: how many they are, their cursors, and the last of them.
SELECT count(*), string_agg(seq::text, ','), (array_agg("timestamp"))[count(*)::int], (array_agg(seq))[count(*)::int]
FROM (
    (
        SELECT "timestamp", seq
        FROM workflow_comms.agent_messages
        WHERE channel = 'general'
          AND workflow_uid = %(claimed)s::text
          AND (%(namespace)s::text IS NULL OR workflow_namespace = %(namespace)s::text)
          AND ("timestamp", seq) > (%(low_at)s::timestamptz, %(low_seq)s::bigint)
          AND ("timestamp", seq) < (%(high_at)s::timestamptz, %(high_seq)s::bigint)
        ORDER BY "timestamp", seq
        LIMIT %(limit)s::bigint
    )
    UNION
    (
        SELECT "timestamp", seq
        FROM workflow_comms.agent_messages
        WHERE channel = 'general'
          AND workflow_name = %(claimed)s::text
          AND (%(namespace)s::text IS NULL OR workflow_namespace = %(namespace)s::text)
          AND ("timestamp", seq) > (%(low_at)s::timestamptz, %(low_seq)s::bigint)
          AND ("timestamp", seq) < (%(high_at)s::timestamptz, %(high_seq)s::bigint)
        ORDER BY "timestamp", seq
        LIMIT %(limit)s::bigint
    )
    UNION
    (
        SELECT "timestamp", seq
        FROM workflow_comms.agent_messages
        WHERE channel = 'general'
          AND run_id = %(claimed)s::text
          AND (%(namespace)s::text IS NULL OR workflow_namespace = %(namespace)s::text)
          AND ("timestamp", seq) > (%(low_at)s::timestamptz, %(low_seq)s::bigint)
          AND ("timestamp", seq) < (%(high_at)s::timestamptz, %(high_seq)s::bigint)
        ORDER BY "timestamp", seq
        LIMIT %(limit)s::bigint
    )
    ORDER BY "timestamp", seq
    LIMIT %(limit)s::bigint
) AS places
