-- Makes the session the one that indexes messages, until it ends; false where another one is.
-- The key is "acidx" in ASCII.
SELECT pg_try_advisory_lock(418279679096)
