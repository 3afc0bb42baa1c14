-- Deletes the oldest indexed stretches whose messages are all gone, but never the newest one; says how many they were.
WITH gone AS (
    SELECT segment
    FROM workflow_comms.search_segments
    WHERE upto < (
        SELECT coalesce(min(seq), 9223372036854775807)
        FROM (
            (SELECT seq FROM workflow_comms.agent_messages WHERE channel = 'run' ORDER BY seq LIMIT 1)
            UNION ALL
            (SELECT seq FROM workflow_comms.agent_messages WHERE channel = 'general' ORDER BY seq LIMIT 1)
        ) AS firsts
    )
    AND segment < (SELECT max(segment) FROM workflow_comms.search_segments)
    ORDER BY segment
    LIMIT %(limit)s::bigint
),
slices AS (
    DELETE FROM workflow_comms.search_slices AS slice
    USING gone, generate_series(0, 255) AS parts (part)
    WHERE slice.part = parts.part AND slice.segment = gone.segment
),
blocks AS (
    DELETE FROM workflow_comms.search_blocks AS block USING gone WHERE block.segment = gone.segment
),
segments AS (
    DELETE FROM workflow_comms.search_segments AS segment USING gone WHERE segment.segment = gone.segment
)
SELECT count(*) FROM gone
