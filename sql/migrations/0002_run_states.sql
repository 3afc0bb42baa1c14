-- What its messages say of a run and what the workflow's controller says stand side by side,
-- each independent of the order in which they came; what is shown follows from both.

ALTER TABLE workflow_comms.runs RENAME COLUMN state_at TO said_at;
ALTER TABLE workflow_comms.runs RENAME COLUMN started_at TO said_started_at;

ALTER TABLE workflow_comms.runs
    -- When the name, the run id and the runtime were said first: the first one counts.
    -- Infinity is the controller's word, which counts where no message says one.
    ADD COLUMN named_at          timestamptz,
    ADD COLUMN run_id_at         timestamptz,
    ADD COLUMN runtime_at        timestamptz,
    -- The state that messages told last, at said_at, and when they last told that the run begins.
    ADD COLUMN said              text CHECK (said IN ('running', 'succeeded', 'failed')),
    ADD COLUMN begun_at          timestamptz,
    -- The controller's word on the end that came last, and the first start that it knows of.
    ADD COLUMN phase             text,
    ADD COLUMN phase_started_at  timestamptz,
    ADD COLUMN phase_finished_at timestamptz;

UPDATE workflow_comms.runs
SET said = CASE WHEN said_at IS NOT NULL THEN state END,
    begun_at = CASE WHEN said_at IS NOT NULL AND state = 'running' THEN said_at END,
    named_at = CASE WHEN workflow_name <> workflow_uid THEN first_at END,
    run_id_at = CASE WHEN run_id IS NOT NULL THEN first_at END,
    runtime_at = CASE WHEN runtime <> 'native' THEN first_at END;

ALTER TABLE workflow_comms.runs DROP COLUMN state, DROP COLUMN finished_at;

-- The controller's word is the last one, unless a message says that the run began again after that end:
-- by more than 2 s, since controllers tell whole seconds, cut off, and clocks differ.
ALTER TABLE workflow_comms.runs
    ADD COLUMN state text NOT NULL GENERATED ALWAYS AS (
        CASE
            WHEN phase_finished_at IS NULL OR begun_at - phase_finished_at > interval '2 s' THEN coalesce(said, 'running')
            WHEN phase = 'Succeeded' THEN 'succeeded'
            WHEN phase IN ('Failed', 'Error') THEN 'failed'
            WHEN said IN ('succeeded', 'failed') THEN said
            ELSE 'unknown'
        END
    ) STORED,
    ADD COLUMN started_at timestamptz GENERATED ALWAYS AS (coalesce(phase_started_at, said_started_at)) STORED,
    ADD COLUMN finished_at timestamptz GENERATED ALWAYS AS (
        CASE
            WHEN phase_finished_at IS NULL OR begun_at - phase_finished_at > interval '2 s' THEN
                CASE WHEN said IN ('succeeded', 'failed') THEN said_at END
            ELSE phase_finished_at
        END
    ) STORED;

-- The state that a reader is shown: a running run that has said nothing for long is stale.
CREATE FUNCTION workflow_comms.shown_state(state text, last_at timestamptz, silent_since timestamptz)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT CASE WHEN state = 'running' AND last_at < silent_since THEN 'stale' ELSE state END $$;
