-- Some messages by their cursors, in reading order.
SELECT id::text, seq, workflow_uid, workflow_name, workflow_namespace, run_id, step_id, agent_id, role, kind, "timestamp",
       channel, stage, content, attrs::text, created_at
FROM workflow_comms.agent_messages
WHERE channel IN ('run', 'general') AND seq = ANY (%(seqs)s::bigint[])
ORDER BY "timestamp", seq
