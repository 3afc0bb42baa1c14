-- Adds what a batch of messages says to the rows of its runs; %(runs)s is a JSON array of deltas.
-- Whatever is added in whatever order, the row is the same: sums, the least, the greatest, the union.
INSERT INTO workflow_comms.runs AS run (
    workflow_namespace, workflow_uid, workflow_name, named_at, run_id, run_id_at, runtime, runtime_at, messages,
    tool_calls, errors, agents, first_at, last_at, words_at, last_agent, last_content, said, said_at, begun_at,
    said_started_at
)
SELECT
    workflow_namespace, workflow_uid, workflow_name, named_at, run_id, run_id_at, runtime, runtime_at, messages,
    tool_calls, errors, agents, first_at, last_at, words_at, last_agent, last_content, said, said_at, begun_at,
    said_started_at
FROM jsonb_to_recordset(%(runs)s::jsonb) AS delta (
    workflow_namespace text, workflow_uid text, workflow_name text, named_at timestamptz, run_id text,
    run_id_at timestamptz, runtime text, runtime_at timestamptz, messages bigint, tool_calls bigint, errors bigint,
    agents text[], first_at timestamptz, last_at timestamptz, words_at timestamptz, last_agent text, last_content text,
    said text, said_at timestamptz, begun_at timestamptz, said_started_at timestamptz
)
ON CONFLICT (workflow_namespace, workflow_uid) DO UPDATE SET
    -- What was said first, by time and then by text.
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
    runtime = CASE
        WHEN (run.runtime_at IS NULL AND excluded.runtime_at IS NOT NULL)
            OR (excluded.runtime_at, excluded.runtime COLLATE "C") < (run.runtime_at, run.runtime COLLATE "C")
        THEN excluded.runtime ELSE run.runtime END,
    runtime_at = least(run.runtime_at, excluded.runtime_at),
    messages = run.messages + excluded.messages,
    tool_calls = run.tool_calls + excluded.tool_calls,
    errors = run.errors + excluded.errors,
    -- As many are kept as flows/runs.py keeps.
    agents = CASE
        WHEN run.agents @> excluded.agents THEN run.agents
        ELSE ARRAY(
            SELECT agent COLLATE "C" FROM unnest(run.agents || excluded.agents) AS agent
            GROUP BY 1 ORDER BY 1 LIMIT 1000
        ) END,
    first_at = least(run.first_at, excluded.first_at),
    last_at = greatest(run.last_at, excluded.last_at),
    -- What was said last, by time, then by text, then by agent.
    last_agent = CASE
        WHEN run.words_at IS NULL
            OR (excluded.words_at, excluded.last_content COLLATE "C", excluded.last_agent COLLATE "C")
             > (run.words_at, run.last_content COLLATE "C", run.last_agent COLLATE "C")
        THEN excluded.last_agent ELSE run.last_agent END,
    last_content = CASE
        WHEN run.words_at IS NULL
            OR (excluded.words_at, excluded.last_content COLLATE "C") > (run.words_at, run.last_content COLLATE "C")
        THEN excluded.last_content ELSE run.last_content END,
    words_at = greatest(run.words_at, excluded.words_at),
    -- The state that was told last; at the same moment an end outweighs a beginning.
    said = CASE
        WHEN run.said_at IS NULL
            OR (excluded.said_at, array_position(ARRAY['running', 'unknown', 'succeeded', 'failed'], excluded.said))
             > (run.said_at, array_position(ARRAY['running', 'unknown', 'succeeded', 'failed'], run.said))
        THEN excluded.said ELSE run.said END,
    said_at = greatest(run.said_at, excluded.said_at),
    begun_at = greatest(run.begun_at, excluded.begun_at),
    said_started_at = least(run.said_started_at, excluded.said_started_at)
