-- Notes on a run, where it is known, what its artifacts came to.
UPDATE workflow_comms.runs
SET attrs = attrs || jsonb_build_object('backfill', %(report)s::jsonb, 'tokens', %(tokens)s::jsonb)
WHERE workflow_namespace = %(namespace)s AND workflow_uid = %(uid)s
