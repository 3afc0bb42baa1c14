-- Keeps account of artifacts that were read; %(artifacts)s is a JSON array.
INSERT INTO workflow_comms.artifacts AS read (
    workflow_namespace, workflow_uid, location, version, state, found, read_at
)
SELECT workflow_namespace, workflow_uid, location, version, state, found, now()
FROM jsonb_to_recordset(%(artifacts)s::jsonb) AS done (
    workflow_namespace text, workflow_uid text, location text, version text, state text, found jsonb
)
ORDER BY workflow_namespace COLLATE "C", workflow_uid COLLATE "C", location COLLATE "C"
ON CONFLICT (workflow_namespace, workflow_uid, location) DO UPDATE SET
    version = excluded.version, state = excluded.state, found = excluded.found, read_at = excluded.read_at
