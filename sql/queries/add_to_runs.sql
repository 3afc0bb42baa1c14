-- Adds what a batch of messages says to the rows of its runs; %(runs)s is a JSON array of deltas.
INSERT INTO workflow_comms.runs AS run (
    workflow_namespace, workflow_uid, workflow_name, run_id, runtime, state, state_at, messages, tool_calls, errors,
    agents, first_at, last_at, started_at, finished_at, words_at, last_agent, last_content
)
SELECT
    workflow_namespace, workflow_uid, workflow_name, run_id, runtime, coalesce(state, 'running'), state_at, messages,
    tool_calls, errors, ARRAY(SELECT unnest(agents) AS agent ORDER BY agent), first_at, last_at, started_at,
    finished_at, words_at, last_agent, last_content
FROM jsonb_to_recordset(%(runs)s::jsonb) AS delta (
    workflow_namespace text, workflow_uid text, workflow_name text, run_id text, runtime text, state text,
    state_at timestamptz, messages bigint, tool_calls bigint, errors bigint, agents text[], first_at timestamptz,
    last_at timestamptz, started_at timestamptz, finished_at timestamptz, words_at timestamptz, last_agent text,
    last_content text
)
ON CONFLICT (workflow_namespace, workflow_uid) DO UPDATE SET
    workflow_name = CASE WHEN run.workflow_name = run.workflow_uid THEN excluded.workflow_name ELSE run.workflow_name END,
    run_id = coalesce(run.run_id, excluded.run_id),
    messages = run.messages + excluded.messages,
    tool_calls = run.tool_calls + excluded.tool_calls,
    errors = run.errors + excluded.errors,
    agents = ARRAY(SELECT unnest(run.agents || excluded.agents) AS agent GROUP BY agent ORDER BY agent),
    first_at = least(run.first_at, excluded.first_at),
    last_at = greatest(run.last_at, excluded.last_at),
    started_at = least(run.started_at, excluded.started_at),
    finished_at = greatest(run.finished_at, excluded.finished_at),
    state = CASE
        WHEN run.state_at IS NULL
            OR (excluded.state_at, array_position(ARRAY['running', 'succeeded', 'failed'], excluded.state))
             > (run.state_at, array_position(ARRAY['running', 'succeeded', 'failed'], run.state))
        THEN excluded.state ELSE run.state END,
    state_at = greatest(run.state_at, excluded.state_at),
    last_agent = CASE
        WHEN run.words_at IS NULL OR (excluded.words_at, excluded.last_content COLLATE "C") > (run.words_at, run.last_content COLLATE "C")
        THEN excluded.last_agent ELSE run.last_agent END,
    last_content = CASE
        WHEN run.words_at IS NULL OR (excluded.words_at, excluded.last_content COLLATE "C") > (run.words_at, run.last_content COLLATE "C")
        THEN excluded.last_content ELSE run.last_content END,
    words_at = greatest(run.words_at, excluded.words_at)
