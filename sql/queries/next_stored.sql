-- When the next message of an artifact was said after a time, of those that are stored.
SELECT min(said."timestamp")
FROM (
    SELECT "timestamp"
    FROM workflow_comms.agent_messages
    WHERE workflow_namespace = %(namespace)s AND workflow_uid = %(uid)s AND channel = 'run'
        AND "timestamp" > %(after)s AND attrs ->> 'artifact' = %(artifact)s
    ORDER BY "timestamp"
    LIMIT 1
) AS said
