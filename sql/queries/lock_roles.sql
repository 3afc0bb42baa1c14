-- One at a time changes grants, to the transaction's end; Postgres refuses who comes second otherwise.
-- The key is "acgrant" in ASCII.
SELECT pg_advisory_xact_lock(27412368692702836)
