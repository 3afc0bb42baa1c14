-- Some blocks by their names; two arrays of one length, segments and blocks.
SELECT segment, block, first_at, last_at, array_to_string(seqs, ',')
FROM unnest(%(segments)s::bigint[], %(blocks)s::smallint[]) AS wanted (segment, block)
JOIN workflow_comms.search_blocks USING (segment, block)
WHERE first_at <= %(high_at)s::timestamptz AND last_at >= %(low_at)s::timestamptz
