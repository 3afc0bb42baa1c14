-- How many runs failed, have gone silent and are running, perhaps of some namespaces or under way in a stretch of time.
-- Of each no more than so many are counted; when a run was active, and from when on, is as in list_runs.
SELECT
    (SELECT count(*) FROM (
        SELECT FROM workflow_comms.runs
        WHERE state = 'failed'
          AND CASE WHEN last_at IS NULL THEN finished_at ELSE last_at END >= %(recent_since)s::timestamptz
          AND (%(until)s::timestamptz IS NULL
               OR CASE WHEN first_at IS NOT NULL THEN first_at WHEN started_at IS NOT NULL THEN started_at
                       ELSE finished_at END < %(until)s::timestamptz)
          AND (%(namespaces)s::text[] IS NULL OR workflow_namespace = ANY (%(namespaces)s::text[]))
        LIMIT %(most)s::bigint
    ) AS failed),
    (SELECT count(*) FROM (
        SELECT FROM workflow_comms.runs
        WHERE state = 'running'
          AND CASE WHEN last_at IS NULL THEN finished_at ELSE last_at END >= %(recent_since)s::timestamptz
          AND CASE WHEN last_at IS NULL THEN finished_at ELSE last_at END < %(silent_since)s::timestamptz
          AND (%(until)s::timestamptz IS NULL
               OR CASE WHEN first_at IS NOT NULL THEN first_at WHEN started_at IS NOT NULL THEN started_at
                       ELSE finished_at END < %(until)s::timestamptz)
          AND (%(namespaces)s::text[] IS NULL OR workflow_namespace = ANY (%(namespaces)s::text[]))
        LIMIT %(most)s::bigint
    ) AS silent),
    (SELECT count(*) FROM (
        SELECT FROM workflow_comms.runs
        WHERE state = 'running'
          AND CASE WHEN last_at IS NULL THEN finished_at ELSE last_at END
              >= greatest(%(silent_since)s::timestamptz, %(since)s::timestamptz)
          AND (%(until)s::timestamptz IS NULL
               OR CASE WHEN first_at IS NOT NULL THEN first_at WHEN started_at IS NOT NULL THEN started_at
                       ELSE finished_at END < %(until)s::timestamptz)
          AND (%(namespaces)s::text[] IS NULL OR workflow_namespace = ANY (%(namespaces)s::text[]))
        LIMIT %(most)s::bigint
    ) AS running)
