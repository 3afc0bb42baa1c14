-- Locks the rows of some runs until the transaction ends, and creates those that are missing though there are messages.
-- In the order of their keys, as everybody locks them; two arrays of one length, namespaces and uids.
INSERT INTO workflow_comms.runs AS run (workflow_namespace, workflow_uid, workflow_name)
SELECT namespace, uid, uid
FROM unnest(%(namespaces)s::text[], %(uids)s::text[]) AS wanted (namespace, uid)
WHERE EXISTS (
        SELECT FROM workflow_comms.agent_messages
        WHERE workflow_namespace = namespace AND workflow_uid = uid AND channel = 'run'
    )
    OR EXISTS (SELECT FROM workflow_comms.runs WHERE workflow_namespace = namespace AND workflow_uid = uid)
ORDER BY namespace COLLATE "C", uid COLLATE "C"
ON CONFLICT (workflow_namespace, workflow_uid) DO UPDATE SET pruned = run.pruned WHERE false
