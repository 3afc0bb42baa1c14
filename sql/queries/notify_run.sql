-- Tells those who watch the list of runs, at commit, that a run has changed though nobody spoke in it.
SELECT pg_notify('agent_comms_runs', json_build_array(%(namespace)s::text, %(uid)s::text)::text)
