-- Notes what the workflow's controller says of a run that has ended, whether or not a message of it has come.
-- Of several ends the last one counts, told as often and in whatever order; one that tells no time is noted beside them.
-- Names are only the controller's to give where no message gives any, which that time marks (migration 0020).
INSERT INTO workflow_comms.runs AS run (
    workflow_namespace, workflow_uid, workflow_name, named_at, run_id, run_id_at, phase, phase_at, phase_started_at,
    phase_finished_at, noted_at
)
VALUES (
    %(namespace)s, %(uid)s, %(name)s, CASE WHEN %(name)s::text <> %(uid)s::text THEN workflow_comms.unsaid() END,
    %(run_id)s, CASE WHEN %(run_id)s::text IS NOT NULL THEN workflow_comms.unsaid() END, %(phase)s,
    -- Who tells neither how nor when says nothing of how.
    coalesce(%(finished_at)s::timestamptz, CASE WHEN %(phase)s::text <> '' THEN %(received_at)s::timestamptz END),
    %(started_at)s, %(finished_at)s,
    CASE WHEN %(finished_at)s::timestamptz IS NULL THEN ARRAY[%(received_at)s::timestamptz] ELSE '{}' END
)
ON CONFLICT (workflow_namespace, workflow_uid) DO UPDATE SET
    workflow_name = CASE
        WHEN (run.named_at IS NULL AND excluded.named_at IS NOT NULL)
            OR (excluded.named_at, excluded.workflow_name) < (run.named_at, run.workflow_name)
        THEN excluded.workflow_name ELSE run.workflow_name END,
    named_at = least(run.named_at, excluded.named_at),
    run_id = CASE
        WHEN (run.run_id_at IS NULL AND excluded.run_id_at IS NOT NULL)
            OR (excluded.run_id_at, excluded.run_id) < (run.run_id_at, run.run_id)
        THEN excluded.run_id ELSE run.run_id END,
    run_id_at = least(run.run_id_at, excluded.run_id_at),
    phase = CASE
        WHEN coalesce(run.phase_at, run.phase_finished_at) IS NULL
            OR (excluded.phase_at, array_position(ARRAY['', 'Succeeded', 'Error', 'Failed'], excluded.phase))
             > (coalesce(run.phase_at, run.phase_finished_at),
                array_position(ARRAY['', 'Succeeded', 'Error', 'Failed'], run.phase))
        THEN excluded.phase ELSE run.phase END,
    phase_at = greatest(run.phase_at, run.phase_finished_at, excluded.phase_at),
    phase_started_at = least(run.phase_started_at, excluded.phase_started_at),
    phase_finished_at = greatest(run.phase_finished_at, excluded.phase_finished_at),
    -- However often it is told: the first 49 and the last one.
    noted_at = CASE
        WHEN run.noted_at @> excluded.noted_at THEN run.noted_at
        ELSE (
            SELECT times[1:49] || times[greatest(50, cardinality(times)):]
            FROM (
                SELECT array_agg(DISTINCT at ORDER BY at) AS times FROM unnest(run.noted_at || excluded.noted_at) AS at
            ) AS noted
        ) END
