-- Notes on runs, where they are known, what their artifacts came to; %(runs)s is a JSON array.
-- Locked one after the other first, in the order in which every writer locks rows of runs.
WITH noted AS MATERIALIZED (
    SELECT run.workflow_namespace, run.workflow_uid, told.report, told.tokens
    FROM jsonb_to_recordset(%(runs)s::jsonb) AS told (
        workflow_namespace text, workflow_uid text, report jsonb, tokens jsonb
    )
    JOIN workflow_comms.runs AS run
        ON run.workflow_namespace = told.workflow_namespace AND run.workflow_uid = told.workflow_uid
    ORDER BY run.workflow_namespace COLLATE "C", run.workflow_uid COLLATE "C"
    FOR UPDATE OF run
)
UPDATE workflow_comms.runs AS run
SET attrs = run.attrs || jsonb_build_object('backfill', noted.report, 'tokens', noted.tokens)
FROM noted
WHERE run.workflow_namespace = noted.workflow_namespace AND run.workflow_uid = noted.workflow_uid
