-- The newest messages that aren't indexed yet, after a live cursor: so many rows at most, and so many bytes.
SELECT seq
FROM (
    SELECT seq, sum(octet_length(content)) OVER (ORDER BY seq DESC) AS total
    FROM (
        (
            SELECT seq, content FROM workflow_comms.agent_messages
            WHERE channel = 'run' AND seq > %(upto)s::bigint ORDER BY seq DESC LIMIT %(limit)s::bigint
        )
        UNION ALL
        (
            SELECT seq, content FROM workflow_comms.agent_messages
            WHERE channel = 'general' AND seq > %(upto)s::bigint ORDER BY seq DESC LIMIT %(limit)s::bigint
        )
        ORDER BY seq DESC
        LIMIT %(limit)s::bigint
    ) AS waiting
) AS summed
WHERE total < %(max_bytes)s::bigint
ORDER BY seq
