-- The indexed stretches up to one of them, from the first to the last that may hold messages of some time, in order.
SELECT segment
FROM workflow_comms.search_segments,
    (
        SELECT min(segment) AS first, max(segment) AS last
        FROM workflow_comms.search_segments
        WHERE segment <= %(segment)s::bigint
          AND first_at <= %(high_at)s::timestamptz
          AND last_at >= %(low_at)s::timestamptz
    ) AS ends
WHERE segment BETWEEN ends.first AND ends.last
ORDER BY segment
