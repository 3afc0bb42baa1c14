-- Deletes a batch of one channel's oldest messages that are past the retention, and notes it on their runs and channel.
WITH oldest AS (
    SELECT id, created_at FROM workflow_comms.agent_messages
    WHERE channel = %(channel)s
    ORDER BY seq
    LIMIT %(batch)s
),
gone AS (
    DELETE FROM workflow_comms.agent_messages AS message
    USING oldest
    WHERE message.id = oldest.id AND oldest.created_at < %(before)s
    RETURNING message.workflow_namespace, message.workflow_uid, message.seq
),
noted AS (
    UPDATE workflow_comms.runs AS run SET pruned = run.pruned + counted.messages
    FROM (
        SELECT workflow_namespace, workflow_uid, count(*) AS messages FROM gone GROUP BY 1, 2 ORDER BY 1, 2
    ) AS counted
    WHERE %(channel)s = 'run'
        AND (run.workflow_namespace, run.workflow_uid) = (counted.workflow_namespace, counted.workflow_uid)
),
reached AS (
    INSERT INTO workflow_comms.pruned AS pruned (channel, seq)
    SELECT %(channel)s, max(seq) FROM gone HAVING count(*) > 0
    ON CONFLICT (channel) DO UPDATE SET seq = greatest(pruned.seq, excluded.seq)
)
SELECT count(*) FROM gone
