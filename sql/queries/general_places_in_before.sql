-- The last places in reading order where some namespaces spoke in the general channel, between two of them.
-- Each namespace's part is read from the index alone, and no further than it may be wanted: how many they are, their cursors, and the last of them.
SELECT count(*), string_agg(seq::text, ','), (array_agg("timestamp"))[count(*)::int], (array_agg(seq))[count(*)::int]
FROM (
    SELECT "timestamp", seq
    FROM unnest(%(namespaces)s::text[]) AS part (namespace)
    CROSS JOIN LATERAL (
        SELECT "timestamp", seq
        FROM workflow_comms.agent_messages
        WHERE channel = 'general'
          AND workflow_namespace = part.namespace
          AND ("timestamp", seq) > (%(low_at)s::timestamptz, %(low_seq)s::bigint)
          AND ("timestamp", seq) < (%(high_at)s::timestamptz, %(high_seq)s::bigint)
        ORDER BY "timestamp" DESC, seq DESC
        LIMIT %(limit)s::bigint
    ) AS said
    ORDER BY "timestamp" DESC, seq DESC
    LIMIT %(limit)s::bigint
) AS places
