-- When a run ended is its controller's to say, or its messages'; a completion that tells no time says only that it has
-- ended by now. Of several such the first one counts, since it is told again and again.
ALTER TABLE workflow_comms.runs
    -- When the word in `phase` was told: the end that it came with, or, where it came with none, when it came. Null in rows
    -- of before, where it is phase_finished_at.
    ADD COLUMN phase_at timestamptz,
    -- When completions came that told no time, in order: the first ones and the last one.
    ADD COLUMN noted_at timestamptz[] NOT NULL DEFAULT '{}',
    DROP COLUMN state,
    DROP COLUMN finished_at;

-- The first of these completions that is not outdated by a later beginning of the run.
CREATE FUNCTION workflow_comms.noted_end(noted_at timestamptz[], begun_at timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT coalesce(min(at) FILTER (WHERE begun_at IS NULL OR begun_at - at <= interval '2 s'), max(at))
    FROM unnest(noted_at) AS at
$$;

ALTER TABLE workflow_comms.runs
    ADD COLUMN state text NOT NULL GENERATED ALWAYS AS (
        CASE
            WHEN coalesce(
                begun_at - greatest(phase_at, phase_finished_at, noted_at[cardinality(noted_at)]) > interval '2 s',
                greatest(phase_at, phase_finished_at, noted_at[cardinality(noted_at)]) IS NULL
            ) THEN coalesce(said, 'running')
            -- The word on an earlier end says nothing of a later one.
            WHEN begun_at - coalesce(phase_at, phase_finished_at) > interval '2 s' THEN
                CASE WHEN said IN ('succeeded', 'failed') THEN said ELSE 'unknown' END
            WHEN phase = 'Succeeded' THEN 'succeeded'
            WHEN phase IN ('Failed', 'Error') THEN 'failed'
            WHEN said IN ('succeeded', 'failed') THEN said
            ELSE 'unknown'
        END
    ) STORED,
    ADD COLUMN finished_at timestamptz GENERATED ALWAYS AS (
        CASE
            WHEN phase_finished_at IS NOT NULL AND (begun_at IS NULL OR begun_at - phase_finished_at <= interval '2 s')
            THEN phase_finished_at
            WHEN said IN ('unknown', 'succeeded', 'failed') THEN said_at
            -- The function is nothing for rows that have none, which every batch writes.
            WHEN cardinality(noted_at) > 0
                AND (begun_at IS NULL OR begun_at - noted_at[cardinality(noted_at)] <= interval '2 s')
            THEN workflow_comms.noted_end(noted_at, begun_at)
        END
    ) STORED;

-- It went with the state.
CREATE INDEX runs_by_state
    ON workflow_comms.runs (state, last_at DESC, workflow_namespace, workflow_uid, first_at);

ALTER FUNCTION workflow_comms.grant_roles() RENAME TO grant_roles_for_sights;

CREATE FUNCTION workflow_comms.grant_roles() RETURNS SETOF text LANGUAGE plpgsql
AS $$
BEGIN
    RETURN QUERY SELECT missing FROM workflow_comms.grant_roles_for_sights() AS missing;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'agent_comms_web') THEN
        GRANT INSERT (phase_at, noted_at), UPDATE (phase_at, noted_at) ON workflow_comms.runs TO agent_comms_web;
    END IF;
END
$$;

REVOKE EXECUTE ON FUNCTION workflow_comms.grant_roles() FROM PUBLIC;

SELECT workflow_comms.grant_roles();
