-- The next blocks backwards in time, by their last messages, after one of them; up to an indexed stretch.
SELECT segment, block, first_at, last_at, array_to_string(seqs, ',')
FROM workflow_comms.search_blocks
WHERE segment <= %(upto)s::bigint
  AND last_at >= %(low_at)s::timestamptz
  AND first_at <= %(high_at)s::timestamptz
  AND (last_at, segment, block) < (
    -- A block that begins before a place ends at most so much after it.
    coalesce(%(at)s::timestamptz, %(high_at)s::timestamptz + interval '10 minutes 1 microsecond'),
    %(segment)s::bigint, %(block)s::smallint
  )
ORDER BY last_at DESC, segment DESC, block DESC
LIMIT %(limit)s::bigint
