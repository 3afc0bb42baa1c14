-- How many messages, and bytes of them, wait to be indexed after a live cursor; counts up to a limit.
SELECT count(*), coalesce(sum(size), 0)
FROM (
    SELECT octet_length(content) + pg_column_size(attrs) AS size
    FROM (
        (
            SELECT seq, content, attrs FROM workflow_comms.agent_messages
            WHERE channel = 'run' AND seq > %(seq)s::bigint ORDER BY seq LIMIT %(limit)s::bigint
        )
        UNION ALL
        (
            SELECT seq, content, attrs FROM workflow_comms.agent_messages
            WHERE channel = 'general' AND seq > %(seq)s::bigint ORDER BY seq LIMIT %(limit)s::bigint
        )
        ORDER BY seq
        LIMIT %(limit)s::bigint
    ) AS waiting
) AS measured
