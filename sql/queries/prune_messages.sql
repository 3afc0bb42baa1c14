-- Deletes a batch of one channel's oldest messages that are past the retention, and notes it on their runs.
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
    RETURNING message.workflow_namespace, message.workflow_uid
),
noted AS (
    UPDATE workflow_comms.runs AS run SET pruned = run.pruned + counted.messages
    FROM (
        SELECT workflow_namespace, workflow_uid, count(*) AS messages FROM gone GROUP BY 1, 2 ORDER BY 1, 2
    ) AS counted
    WHERE %(channel)s = 'run'
        AND (run.workflow_namespace, run.workflow_uid) = (counted.workflow_namespace, counted.workflow_uid)
)
SELECT count(*) FROM gone
