-- Tells live readers, at commit, that messages are there; the payload is nothing that a reader relies on.
SELECT pg_notify('agent_comms', '')
