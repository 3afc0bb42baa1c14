-- Where in the time of a run each agent spoke: by agent and slice of time, how many messages, tool calls and failures,
-- and when the first failure was; with what the general channel says under the run's name.
SELECT agent_id, channel, slice, count(*), count(*) FILTER (WHERE kind = 'tool_call'), count(*) FILTER (WHERE is_wrong),
       min("timestamp") FILTER (WHERE is_wrong)
FROM (
    SELECT agent_id, channel, kind, "timestamp", workflow_comms.is_wrong(kind, attrs) AS is_wrong,
           greatest(0, least(
               %(slices)s::int - 1,
               floor(extract(epoch FROM "timestamp" - %(first_at)s::timestamptz) / %(seconds)s::float8 * %(slices)s::int)
           ))::int AS slice
    FROM workflow_comms.agent_messages
    WHERE workflow_namespace = %(namespace)s::text AND workflow_uid = %(uid)s::text AND channel IN ('run', 'general')
) AS message
GROUP BY agent_id, channel, slice
ORDER BY agent_id, channel, slice
