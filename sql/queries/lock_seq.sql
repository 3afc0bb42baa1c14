-- Taken before `seq` is handed out and held to commit, so that commits come in the order of `seq`.
-- The key is "acseq" in ASCII; every writer of agent_messages takes the same one. Whoever holds it stops the others,
-- so from here to its commit a transaction is ended that does nothing for 20 s (its writer is paused) or whose
-- writer's machine is gone, and a statement that waits so long for another lock; its batch is stored anew.
SELECT pg_advisory_xact_lock(418280334705)
FROM (
    SELECT set_config('idle_in_transaction_session_timeout', '20s', true),
        -- A shorter one stays: where statements have a timeout, it tells a wait for a lock from a slow statement.
        set_config('lock_timeout', coalesce(nullif(current_setting('lock_timeout'), '0'), '60s'), true),
        set_config('tcp_keepalives_idle', '10', true), set_config('tcp_keepalives_interval', '5', true),
        set_config('tcp_keepalives_count', '3', true)
    OFFSET 0
) AS bounded
