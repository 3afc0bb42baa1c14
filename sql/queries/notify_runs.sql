-- Tells those who watch the list of runs, at commit, that runs have changed though nobody spoke in them; two arrays of one
-- length, namespaces and uids.
SELECT pg_notify('agent_comms_runs', json_build_array(namespace, uid)::text)
FROM unnest(%(namespaces)s::text[], %(uids)s::text[]) AS changed (namespace, uid)
