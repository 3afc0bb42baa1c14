-- How far the index of messages goes, its newest segment and its live cursor; and what isn't indexed yet: the newest places, so
-- many at most and so many bytes of what was said there, as a list and the least of them, and the first of all, with when
-- something was stored there. Null where nothing waits.
SELECT indexed.segment, indexed.upto, waiting.seqs, waiting.least, first.seq, first.created_at
FROM (SELECT coalesce(max(segment), 0), coalesce(max(upto), 0) FROM (
    SELECT segment, upto FROM workflow_comms.search_segments ORDER BY segment DESC LIMIT 1
) AS newest) AS indexed (segment, upto)
CROSS JOIN LATERAL (
    SELECT string_agg(seq::text, ','), min(seq)
    FROM workflow_comms.newest_seqs_after(indexed.upto, %(limit)s::bigint, %(max_bytes)s::bigint) AS seq
) AS waiting (seqs, least)
LEFT JOIN LATERAL workflow_comms.next_stored_after(indexed.upto) AS first ON true
