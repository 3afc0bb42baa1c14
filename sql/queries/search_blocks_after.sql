-- The next blocks forwards in time, by their first messages, after one of them; up to an indexed stretch.
SELECT segment, block, first_at, last_at, array_to_string(seqs, ',')
FROM workflow_comms.search_blocks
WHERE segment <= %(upto)s::bigint
  AND first_at <= %(high_at)s::timestamptz
  AND last_at >= %(low_at)s::timestamptz
  AND (first_at, segment, block) > (
    -- A block that ends after a place begins at most so much before it.
    coalesce(%(at)s::timestamptz, %(low_at)s::timestamptz - interval '10 minutes 1 microsecond'),
    %(segment)s::bigint, %(block)s::smallint
  )
ORDER BY first_at, segment, block
LIMIT %(limit)s::bigint
