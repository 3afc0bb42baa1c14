-- The keys of running runs whose last message lies between these two times, the first one included: those that went silent
-- in a while. So many at most, the newest first.
SELECT workflow_namespace, workflow_uid
FROM workflow_comms.runs
WHERE state = 'running'
  AND last_at IS NOT NULL
  AND CASE WHEN last_at IS NULL THEN finished_at ELSE last_at END >= %(since)s::timestamptz
  AND CASE WHEN last_at IS NULL THEN finished_at ELSE last_at END < %(until)s::timestamptz
ORDER BY CASE WHEN last_at IS NULL THEN finished_at ELSE last_at END DESC
LIMIT %(limit)s
