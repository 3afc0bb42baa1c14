-- How much some runs said in each slice of the time before their last message: two arrays of one length, namespaces and
-- uids, and one of times. Of each run no more than its newest messages are counted.
SELECT wanted.namespace, wanted.uid, slice, count(*)
FROM unnest(%(namespaces)s::text[], %(uids)s::text[], %(ends)s::timestamptz[]) AS wanted (namespace, uid, last_at)
CROSS JOIN LATERAL (
    SELECT %(slices)s::int - 1 - floor(
        extract(epoch FROM wanted.last_at - "timestamp") / extract(epoch FROM %(span)s::interval) * %(slices)s::int
    )::int AS slice
    FROM workflow_comms.agent_messages
    WHERE workflow_namespace = wanted.namespace
      AND workflow_uid = wanted.uid
      AND channel = 'run'
      AND "timestamp" > wanted.last_at - %(span)s::interval
      AND "timestamp" <= wanted.last_at
    ORDER BY "timestamp" DESC, seq DESC
    LIMIT %(limit)s::bigint
) AS said
GROUP BY wanted.namespace, wanted.uid, slice
