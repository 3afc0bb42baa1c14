-- Dead letters, newest first, by any of reason, subject, age and state.
SELECT id, stream_seq, stored_at, subject, headers, payload, reason, detail, deliveries, first_seen_at, replayed_at
FROM workflow_comms.dead_letters
WHERE (%(ids)s::text[] IS NULL OR id::text = ANY (%(ids)s))
    AND (%(reason)s::text IS NULL OR reason = %(reason)s)
    AND (%(subject)s::text IS NULL OR subject LIKE %(subject)s)
    AND (%(since)s::timestamptz IS NULL OR first_seen_at >= %(since)s)
    AND (%(replayed)s OR replayed_at IS NULL)
    AND (%(before_at)s::timestamptz IS NULL
        OR (first_seen_at, coalesce(stream_seq, 0), id) < (%(before_at)s, %(before_seq)s, %(before_id)s::uuid))
ORDER BY first_seen_at DESC, coalesce(stream_seq, 0) DESC, id DESC
LIMIT %(limit)s
