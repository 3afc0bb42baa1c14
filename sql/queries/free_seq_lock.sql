-- Ends the writer that holds the lock of `lock_seq` and has waited for its own client midway (in a COPY, or in statements
-- that are sent together) for at least as long as others waited for the lock: its process is paused, or its network is.
-- Its batch is stored anew. Only writers of the same role can be ended; Postgres' own timeouts don't count meanwhile.
SELECT pg_terminate_backend(writer.pid), writer.pid
FROM pg_locks AS held
JOIN pg_stat_activity AS writer ON writer.pid = held.pid
WHERE held.locktype = 'advisory' AND held.granted AND held.objsubid = 1
    AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (held.classid::bigint << 32 | held.objid::bigint) = 418280334705
    AND writer.state = 'active' AND writer.wait_event = 'ClientRead'
    AND writer.query_start < clock_timestamp() - make_interval(secs => %(waited)s::double precision)
