-- The same as preview_dead_letters, of some namespaces: each one's part is read from its index, no further than it may be wanted.
SELECT id::text, stream_seq, subject, headers::text, reason, detail, deliveries, first_seen_at, replayed_at,
       octet_length(payload), substring(payload FOR %(preview)s::int)
FROM unnest(%(namespaces)s::text[]) AS part (namespace)
CROSS JOIN LATERAL (
    SELECT *
    FROM workflow_comms.dead_letters
    WHERE workflow_namespace = part.namespace
      AND (%(reason)s::text IS NULL OR reason = %(reason)s::text)
      AND (%(subject)s::text IS NULL OR starts_with(subject, %(subject)s::text))
      AND (%(replayed)s::boolean OR replayed_at IS NULL)
      AND first_seen_at >= %(since)s::timestamptz
      AND first_seen_at < %(until)s::timestamptz
      AND first_seen_at <= coalesce(%(before_at)s::timestamptz, 'infinity')
      AND (
        %(before_at)s::timestamptz IS NULL
        OR (first_seen_at, coalesce(stream_seq, 0), id)
         < (%(before_at)s::timestamptz, %(before_seq)s::bigint, %(before_id)s::uuid)
      )
    ORDER BY first_seen_at DESC, coalesce(stream_seq, 0) DESC, id DESC
    LIMIT %(limit)s::bigint
) AS letter
ORDER BY first_seen_at DESC, coalesce(stream_seq, 0) DESC, id DESC
LIMIT %(limit)s::bigint
