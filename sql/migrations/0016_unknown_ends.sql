-- A run whose publisher can only tell that it is over, and not how, is of unknown state and has ended then.
ALTER TABLE workflow_comms.runs
    DROP CONSTRAINT runs_said_check,
    ADD CONSTRAINT runs_said_check CHECK (said IN ('running', 'unknown', 'succeeded', 'failed')),
    DROP COLUMN finished_at;
ALTER TABLE workflow_comms.runs
    ADD COLUMN finished_at timestamptz GENERATED ALWAYS AS (
        CASE
            WHEN phase_finished_at IS NULL OR begun_at - phase_finished_at > interval '2 s' THEN
                CASE WHEN said IN ('unknown', 'succeeded', 'failed') THEN said_at END
            ELSE phase_finished_at
        END
    ) STORED;
