-- Who said some stored messages.
SELECT dedupe_key, agent_id FROM workflow_comms.agent_messages WHERE dedupe_key = ANY (%(keys)s::text[])
