-- Deletes what is past the retention among a channel's next so many messages after a cursor, and notes it on runs and channel.
-- The messages are found by the index of the live order, where age goes with place, and deleted where they lie; the
-- rows of their runs are locked after that, in the order of their keys, as everybody locks them.
WITH batch AS MATERIALIZED (
    SELECT ctid, seq, created_at < %(before)s AS is_old
    FROM workflow_comms.agent_messages
    WHERE channel = %(channel)s AND seq > %(after)s::bigint
    ORDER BY seq
    LIMIT %(batch)s
),
seen AS (
    -- Up to the first young one nothing will be left of the batch.
    SELECT max(seq) AS last, coalesce(min(seq) FILTER (WHERE NOT is_old) - 1, max(seq)) AS walked,
           coalesce(bool_or(is_old), false) AS has_old
    FROM batch
),
gone AS (
    DELETE FROM workflow_comms.agent_messages
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM batch WHERE is_old))
    RETURNING workflow_namespace, workflow_uid, seq
),
counted AS (
    SELECT workflow_namespace, workflow_uid, count(*) AS messages
    FROM gone
    WHERE %(channel)s = 'run'
    GROUP BY workflow_namespace, workflow_uid
),
held AS MATERIALIZED (
    SELECT run.workflow_namespace, run.workflow_uid, counted.messages
    FROM workflow_comms.runs AS run
    JOIN counted
        ON run.workflow_namespace = counted.workflow_namespace AND run.workflow_uid = counted.workflow_uid
    ORDER BY run.workflow_namespace, run.workflow_uid
    FOR NO KEY UPDATE OF run
),
noted AS (
    UPDATE workflow_comms.runs AS run
    SET pruned = run.pruned + held.messages
    FROM held
    WHERE run.workflow_namespace = held.workflow_namespace AND run.workflow_uid = held.workflow_uid
),
reached AS (
    INSERT INTO workflow_comms.pruned AS pruned (channel, seq, walked)
    SELECT %(channel)s, coalesce((SELECT max(seq) FROM gone), 0), walked FROM seen WHERE has_old
    ON CONFLICT (channel) DO UPDATE SET
        seq = greatest(pruned.seq, excluded.seq),
        -- Nor is anything left of what lies before, if the batch begins where that ends.
        walked = CASE
            WHEN pruned.walked >= %(after)s::bigint THEN greatest(pruned.walked, excluded.walked)
            ELSE pruned.walked END
)
SELECT (SELECT count(*) FROM gone), last, has_old FROM seen
