-- Which of some messages are stored, and their times, as in stored_of_runs.sql.
SELECT string_agg(textsend(dedupe_key) || timestamptz_send("timestamp"), '')
FROM workflow_comms.agent_messages
WHERE dedupe_key = ANY (%(keys)s::text[]) AND length(dedupe_key) = 32
