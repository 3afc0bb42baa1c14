-- The keys of the next so many runs after a key, in one namespace or all: those that have a row, and those that only have messages.
-- Messages are hopped over by the index, one run a step.
WITH RECURSIVE spoken AS (
    SELECT %(after_namespace)s::text COLLATE "C" AS namespace, %(after_uid)s::text COLLATE "C" AS uid, 0 AS number
    UNION ALL
    SELECT next.workflow_namespace, next.workflow_uid, spoken.number + 1
    FROM spoken
    CROSS JOIN LATERAL (
        SELECT workflow_namespace, workflow_uid
        FROM workflow_comms.agent_messages
        WHERE (workflow_namespace, workflow_uid) > (spoken.namespace, spoken.uid)
          AND channel = 'run'
          AND (%(namespace)s::text IS NULL OR workflow_namespace = %(namespace)s::text)
        ORDER BY workflow_namespace, workflow_uid
        LIMIT 1
    ) AS next
    WHERE spoken.number < %(limit)s::bigint
)
SELECT namespace, uid FROM spoken WHERE number > 0
UNION
(
    SELECT workflow_namespace, workflow_uid
    FROM workflow_comms.runs
    WHERE (workflow_namespace, workflow_uid) > (%(after_namespace)s::text, %(after_uid)s::text)
      AND (%(namespace)s::text IS NULL OR workflow_namespace = %(namespace)s::text)
    ORDER BY workflow_namespace, workflow_uid
    LIMIT %(limit)s::bigint
)
ORDER BY namespace, uid
LIMIT %(limit)s::bigint
