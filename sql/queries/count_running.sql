-- How many runs are running, by whether they have gone silent; those that have for more than six hours don't count.
SELECT
    count(*) FILTER (WHERE last_at > now() - %(stale_after)s::interval),
    count(*) FILTER (WHERE last_at <= now() - %(stale_after)s::interval)
FROM workflow_comms.runs
WHERE state = 'running'
  AND CASE WHEN last_at IS NULL THEN finished_at ELSE last_at END
      BETWEEN now() - interval '6 hours' AND now() + interval '5 minutes'
