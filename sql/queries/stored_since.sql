-- How many messages were stored after a cursor, and the newest of them.
SELECT count(*), max(seq)
FROM workflow_comms.agent_messages
WHERE channel = ANY ('{run,general}') AND seq > %(seq)s
