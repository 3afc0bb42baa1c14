-- The sign-ins that were ended after a time, and when their cookies end by themselves; in each row, and in one alone
-- where there are none, the time now.
SELECT session, expires_at, clock.now
FROM (SELECT now()) AS clock
LEFT JOIN workflow_comms.ended_sessions ON ended_at > %(since)s::timestamptz
