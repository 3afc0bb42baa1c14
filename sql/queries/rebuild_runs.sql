-- Makes the rows of some runs anew of all their messages; says of each whether it was otherwise, and whether it was left alone.
-- Left alone is a run of which messages are gone. Which words tell which state is written in flows/runs.py.
-- The rows are to be held (hold_runs.sql): then a message is either seen here or added afterwards.
WITH otherwise AS (
    UPDATE workflow_comms.runs AS run
    SET workflow_name = rebuilt.workflow_name, named_at = rebuilt.named_at, run_id = rebuilt.run_id,
        run_id_at = rebuilt.run_id_at, runtime = rebuilt.runtime, runtime_at = rebuilt.runtime_at,
        messages = rebuilt.messages, tool_calls = rebuilt.tool_calls, errors = rebuilt.errors, agents = rebuilt.agents,
        first_at = rebuilt.first_at, last_at = rebuilt.last_at, words_at = rebuilt.words_at,
        last_agent = rebuilt.last_agent, last_content = rebuilt.last_content, said = rebuilt.said,
        said_at = rebuilt.said_at, begun_at = rebuilt.begun_at, said_started_at = rebuilt.said_started_at
    FROM (
        SELECT
            old.workflow_namespace, old.workflow_uid,
            -- What no message says is the controller's to say; that time is its mark (migration 0020).
            coalesce(named.name, CASE WHEN old.named_at = workflow_comms.unsaid() THEN old.workflow_name ELSE old.workflow_uid END) AS workflow_name,
            coalesce(named.at, CASE WHEN old.named_at = workflow_comms.unsaid() THEN old.named_at END) AS named_at,
            coalesce(identified.run_id, CASE WHEN old.run_id_at = workflow_comms.unsaid() THEN old.run_id END) AS run_id,
            coalesce(identified.at, CASE WHEN old.run_id_at = workflow_comms.unsaid() THEN old.run_id_at END) AS run_id_at,
            coalesce(ran.runtime, 'native') AS runtime, ran.at AS runtime_at,
            counted.messages, counted.tool_calls, counted.errors, counted.agents, counted.first_at, counted.last_at,
            spoken.at AS words_at, spoken.agent AS last_agent, spoken.words AS last_content,
            told.said, told.said_at, told.begun_at, told.started_at AS said_started_at
        FROM unnest(%(namespaces)s::text[], %(uids)s::text[]) AS wanted (namespace, uid)
        JOIN workflow_comms.runs AS old
            ON old.workflow_namespace = wanted.namespace AND old.workflow_uid = wanted.uid AND old.pruned = 0
        CROSS JOIN LATERAL (
            SELECT count(*) AS messages,
                   count(*) FILTER (WHERE kind = 'tool_call') AS tool_calls,
                   count(*) FILTER (WHERE kind = 'error') AS errors,
                   coalesce((array_agg(DISTINCT agent_id))[:1000], '{}') AS agents,
                   min("timestamp") AS first_at,
                   max("timestamp") AS last_at
            FROM workflow_comms.agent_messages
            WHERE workflow_namespace = old.workflow_namespace AND workflow_uid = old.workflow_uid AND channel = 'run'
        ) AS counted
        -- What was said first, by time and then by text.
        LEFT JOIN LATERAL (
            SELECT workflow_name AS name, "timestamp" AS at
            FROM workflow_comms.agent_messages
            WHERE workflow_namespace = old.workflow_namespace AND workflow_uid = old.workflow_uid AND channel = 'run'
              AND workflow_name <> workflow_uid
            ORDER BY "timestamp", workflow_name
            LIMIT 1
        ) AS named ON true
        LEFT JOIN LATERAL (
            SELECT run_id, "timestamp" AS at
            FROM workflow_comms.agent_messages
            WHERE workflow_namespace = old.workflow_namespace AND workflow_uid = old.workflow_uid AND channel = 'run'
              AND run_id IS NOT NULL
            ORDER BY "timestamp", run_id
            LIMIT 1
        ) AS identified ON true
        LEFT JOIN LATERAL (
            SELECT left(attrs ->> 'runtime', 256) COLLATE "C" AS runtime, "timestamp" AS at
            FROM workflow_comms.agent_messages
            WHERE workflow_namespace = old.workflow_namespace AND workflow_uid = old.workflow_uid AND channel = 'run'
              AND jsonb_typeof(attrs -> 'runtime') = 'string' AND attrs ->> 'runtime' <> 'native'
            ORDER BY "timestamp", 1
            LIMIT 1
        ) AS ran ON true
        -- The last words, by time, then by text, then by agent; what a tool answers is none.
        LEFT JOIN LATERAL (
            SELECT left(content, 400) COLLATE "C" AS words, agent_id AS agent, "timestamp" AS at
            FROM workflow_comms.agent_messages
            WHERE workflow_namespace = old.workflow_namespace AND workflow_uid = old.workflow_uid AND channel = 'run'
              AND kind <> 'tool_result'
            ORDER BY "timestamp" DESC, 1 DESC, agent_id DESC
            LIMIT 1
        ) AS spoken ON true
        -- The state that was told last; at the same moment an end outweighs a beginning.
        CROSS JOIN LATERAL (
            SELECT
                (array_agg(state ORDER BY at DESC, array_position(ARRAY['running', 'unknown', 'succeeded', 'failed'], state) DESC))[1] AS said,
                max(at) AS said_at,
                max(at) FILTER (WHERE word = ANY (%(beginnings)s::text[])) AS begun_at,
                min(at) FILTER (WHERE state = 'running') AS started_at
            FROM (
                SELECT at, word,
                       CASE WHEN state = 'succeeded' AND code NOT IN ('null', '0', '"0"', 'false') THEN 'failed' ELSE state END AS state
                FROM (
                    SELECT "timestamp" AS at, attrs -> 'exit_code' AS code,
                           replace(lower(btrim(
                               CASE WHEN kind <> 'status' THEN kind
                                    WHEN jsonb_typeof(attrs -> 'status') = 'string' AND attrs ->> 'status' <> '' THEN attrs ->> 'status'
                                    ELSE content END,
                               E' \t\n\r\f\v'
                           ) COLLATE "C"), ' ', '_') AS word
                    FROM workflow_comms.agent_messages
                    WHERE workflow_namespace = old.workflow_namespace AND workflow_uid = old.workflow_uid AND channel = 'run'
                      AND kind = ANY (%(state_kinds)s::text[]) AND NOT attrs ? 'event_type'
                ) AS telling
                JOIN unnest(%(words)s::text[], %(states)s::text[]) AS known (word, state) USING (word)
            ) AS tellings
        ) AS told
    ) AS rebuilt
    WHERE run.workflow_namespace = rebuilt.workflow_namespace
      AND run.workflow_uid = rebuilt.workflow_uid
      AND (
          run.workflow_name, run.named_at, run.run_id, run.run_id_at, run.runtime, run.runtime_at,
          run.messages, run.tool_calls, run.errors, run.agents, run.first_at, run.last_at,
          run.words_at, run.last_agent, run.last_content, run.said, run.said_at, run.begun_at, run.said_started_at
      ) IS DISTINCT FROM (
          rebuilt.workflow_name, rebuilt.named_at, rebuilt.run_id, rebuilt.run_id_at, rebuilt.runtime, rebuilt.runtime_at,
          rebuilt.messages, rebuilt.tool_calls, rebuilt.errors, rebuilt.agents, rebuilt.first_at, rebuilt.last_at,
          rebuilt.words_at, rebuilt.last_agent, rebuilt.last_content, rebuilt.said, rebuilt.said_at, rebuilt.begun_at, rebuilt.said_started_at
      )
    RETURNING run.workflow_namespace, run.workflow_uid
)
SELECT run.workflow_namespace, run.workflow_uid, otherwise.workflow_uid IS NOT NULL AS changed, run.pruned > 0 AS kept
FROM unnest(%(namespaces)s::text[], %(uids)s::text[]) AS wanted (namespace, uid)
JOIN workflow_comms.runs AS run ON run.workflow_namespace = wanted.namespace AND run.workflow_uid = wanted.uid
LEFT JOIN otherwise
    ON otherwise.workflow_namespace = run.workflow_namespace AND otherwise.workflow_uid = run.workflow_uid
