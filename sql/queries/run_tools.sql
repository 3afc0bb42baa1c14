-- What the tools of one run took: by tool, how many results, how many of them failures, and their time in milliseconds.
SELECT coalesce(attrs #>> '{tool,name}', attrs ->> 'tool', 'tool'), count(*),
       count(*) FILTER (WHERE workflow_comms.is_wrong(kind, attrs)),
       sum(
           CASE WHEN jsonb_typeof(coalesce(attrs #> '{tool,duration_ms}', attrs -> 'duration_ms')) = 'number'
           THEN least(1e12, greatest(0, coalesce(attrs #>> '{tool,duration_ms}', attrs ->> 'duration_ms')::numeric)) END
       )::float8
FROM workflow_comms.agent_messages
WHERE workflow_namespace = %(namespace)s::text AND workflow_uid = %(uid)s::text AND channel = 'run' AND kind = 'tool_result'
GROUP BY 1
ORDER BY 4 DESC NULLS LAST, 2 DESC, 1
LIMIT %(limit)s::bigint
