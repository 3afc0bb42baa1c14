-- The keys of the runs that said something after a live cursor, from at most so many messages, and how many those were.
SELECT workflow_namespace, workflow_uid, max(seq), count(*)
FROM (
    SELECT workflow_namespace, workflow_uid, seq
    FROM workflow_comms.agent_messages
    WHERE channel = 'run' AND seq > %(seq)s::bigint
    ORDER BY seq
    LIMIT %(limit)s::bigint
) AS later
WHERE workflow_uid IS NOT NULL
GROUP BY workflow_namespace, workflow_uid
