-- Sign-ins that were ended by signing out, until their cookies would have been good no longer: a copy of such a cookie
-- opens nothing. Holds ids alone, from which no cookie can be made.

CREATE TABLE workflow_comms.ended_sessions (
    session    text        COLLATE "C" NOT NULL,
    -- When the cookie ends by itself, and this row may go.
    expires_at timestamptz NOT NULL,
    ended_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT ended_sessions_pkey PRIMARY KEY (session)
);

CREATE INDEX ended_sessions_by_time ON workflow_comms.ended_sessions (ended_at);

ALTER FUNCTION workflow_comms.grant_roles() RENAME TO grant_roles_for_pulses;

CREATE FUNCTION workflow_comms.grant_roles() RETURNS SETOF text LANGUAGE plpgsql
AS $$
BEGIN
    RETURN QUERY SELECT missing FROM workflow_comms.grant_roles_for_pulses() AS missing;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'agent_comms_web') THEN
        GRANT SELECT, INSERT, DELETE ON workflow_comms.ended_sessions TO agent_comms_web;
    END IF;
END
$$;

REVOKE EXECUTE ON FUNCTION workflow_comms.grant_roles() FROM PUBLIC;

SELECT workflow_comms.grant_roles();
