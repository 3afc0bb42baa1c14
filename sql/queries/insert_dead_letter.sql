-- Keeps one message that Postgres refused; delivered again, it is the same letter.
INSERT INTO workflow_comms.dead_letters (
    stream_seq, stored_at, subject, headers, payload, reason, detail, deliveries, dedupe_key
)
VALUES (
    %(stream_seq)s, %(stored_at)s, %(subject)s, %(headers)s::jsonb, %(payload)s, %(reason)s,
    %(detail)s, %(deliveries)s, %(dedupe_key)s
)
ON CONFLICT (dedupe_key) DO UPDATE SET deliveries = greatest(dead_letters.deliveries, excluded.deliveries)
