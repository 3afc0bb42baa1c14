-- Which of some messages are stored, and their times.
SELECT dedupe_key, "timestamp" FROM workflow_comms.agent_messages WHERE dedupe_key = ANY (%(keys)s::text[])
