-- The results of tools in one run that may have changed files, in reading order: those that tell of changes, those of
-- tools that are called for it, and those that answer with a diff, which may say how much was changed.
SELECT id::text, seq, workflow_uid, workflow_name, workflow_namespace, run_id, step_id, agent_id, role, kind, "timestamp",
       channel, stage, content, attrs::text, created_at, total
FROM (
    SELECT picked.*, size, sum(size) OVER (ORDER BY "timestamp", seq) AS total
    FROM (
        SELECT *
        FROM workflow_comms.agent_messages
        WHERE workflow_namespace = %(namespace)s::text
          AND workflow_uid = %(uid)s::text
          AND channel = 'run'
          AND kind = 'tool_result'
          AND (
            attrs #> '{tool,input,changes}' IS NOT NULL
            OR lower(attrs #>> '{tool,name}') ~ '(patch|edit|write|file_?change)'
            OR content ~ '^(diff --git |--- \S[^\n]*\n\+\+\+ |\*\*\* Begin Patch)'
            OR attrs #>> '{tool,output}' ~ '^(diff --git |--- \S[^\n]*\n\+\+\+ )'
          )
        ORDER BY "timestamp", seq
        LIMIT %(limit)s::bigint
    ) AS picked
    CROSS JOIN LATERAL (SELECT octet_length(content) + octet_length(attrs::text) AS size) AS measured
) AS page
WHERE total - size < %(max_bytes)s::bigint
ORDER BY "timestamp", seq
