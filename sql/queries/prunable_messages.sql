-- Counts what is past the retention among a channel's next so many messages after a cursor.
SELECT count(*) FILTER (WHERE is_old), max(seq), coalesce(bool_or(is_old), false)
FROM (
    SELECT seq, created_at < %(before)s AS is_old
    FROM workflow_comms.agent_messages
    WHERE channel = %(channel)s AND seq > %(after)s
    ORDER BY seq
    LIMIT %(batch)s
) AS batch
