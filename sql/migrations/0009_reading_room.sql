-- What the pages ask beyond the messages themselves: what went wrong, and how far the ingest is.

-- Whether a message says that something went wrong: an error, or a tool that failed by its exit code, else by its word.
-- The page goes by the same rule: see web/tool.py.
CREATE FUNCTION workflow_comms.is_wrong(kind text, attrs jsonb)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT kind = 'error' OR kind = 'tool_result' AND CASE
        WHEN jsonb_typeof(coalesce(attrs #> '{tool,exit_code}', attrs -> 'exit_code')) = 'number'
        THEN coalesce(attrs #> '{tool,exit_code}', attrs -> 'exit_code') <> '0'::jsonb
        ELSE coalesce(lower(attrs #>> '{tool,status}') IN (
            'failed', 'error', 'declined', 'interrupted', 'timeout', 'timed_out', 'cancelled', 'canceled', 'denied'
        ), false)
    END
$$;

-- What each flow says of itself every few seconds, beside its work: whoever reads knows from it whether what is missing
-- was not said, or is not stored yet.
CREATE TABLE workflow_comms.pulses (
    -- One flow process.
    flow       text        COLLATE "C" NOT NULL,
    said_at    timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz NOT NULL,
    -- Of the consumer, which all flows share: messages not delivered yet, and delivered but not acked. Null: not known.
    pending    bigint,
    unacked    bigint,
    -- Of this flow, since it started.
    received   bigint      NOT NULL,
    stored     bigint      NOT NULL,
    -- When it stored something last; null where it has stored nothing yet.
    stored_at  timestamptz,
    -- The age of the oldest message without a row, at most, in seconds.
    oldest_s   double precision,
    CONSTRAINT pulses_pkey PRIMARY KEY (flow)
);

CREATE INDEX pulses_by_time ON workflow_comms.pulses (said_at DESC);

-- The roles of the programs: the flow says how far it is, the web reads it.
ALTER FUNCTION workflow_comms.grant_roles() RENAME TO grant_roles_for_messages;

CREATE FUNCTION workflow_comms.grant_roles() RETURNS SETOF text LANGUAGE plpgsql
AS $$
BEGIN
    RETURN QUERY SELECT missing FROM workflow_comms.grant_roles_for_messages() AS missing;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'agent_comms_web') THEN
        GRANT SELECT ON workflow_comms.pulses TO agent_comms_web;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'agent_comms_ingest') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON workflow_comms.pulses TO agent_comms_ingest;
    END IF;
END
$$;

REVOKE EXECUTE ON FUNCTION workflow_comms.grant_roles() FROM PUBLIC;

SELECT workflow_comms.grant_roles();
