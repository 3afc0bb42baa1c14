-- Counts, in the transaction that inserts them, messages that were recovered from artifacts; %(artifacts)s is a JSON array.
INSERT INTO workflow_comms.artifacts AS read (
    workflow_namespace, workflow_uid, location, version, state, inserted
)
SELECT workflow_namespace, workflow_uid, location, version, 'reading', inserted
FROM jsonb_to_recordset(%(artifacts)s::jsonb) AS added (
    workflow_namespace text, workflow_uid text, location text, version text, inserted bigint
)
ORDER BY workflow_namespace COLLATE "C", workflow_uid COLLATE "C", location COLLATE "C"
ON CONFLICT (workflow_namespace, workflow_uid, location) DO UPDATE SET inserted = read.inserted + excluded.inserted
