-- Taken before `seq` is handed out and held to commit, so that commits come in the order of `seq`.
-- The key is "acseq" in ASCII; every writer of agent_messages takes the same one.
SELECT pg_advisory_xact_lock(418280334705)
