-- How many runs were reconciled in the last seven days, by whether everything that they said is there; where they had no
-- artifacts nobody knows.
SELECT
    CASE
        WHEN report @> '{"artifacts": 0, "gone": 0}' AND report -> 'absent' = '{}' THEN 'unknown'
        WHEN (report ->> 'complete')::boolean THEN 'true'
        ELSE 'false'
    END,
    count(*)
FROM workflow_comms.reconcile_queue
-- Of a run that is done, when it was.
WHERE state = 'done' AND next_try_at > now() - interval '7 days'
GROUP BY 1
