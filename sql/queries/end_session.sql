-- Notes that somebody has signed out, and forgets those whose cookies have ended by themselves meanwhile.
WITH gone AS (
    DELETE FROM workflow_comms.ended_sessions WHERE expires_at < now() - interval '1 hour'
)
INSERT INTO workflow_comms.ended_sessions (session, expires_at)
VALUES (%(session)s::text, %(expires_at)s::timestamptz)
ON CONFLICT (session) DO NOTHING
