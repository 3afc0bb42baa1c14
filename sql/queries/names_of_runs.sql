-- The names of some runs; two arrays of one length, namespaces and uids.
SELECT run.workflow_name
FROM unnest(%(namespaces)s::text[], %(uids)s::text[]) AS wanted (namespace, uid)
JOIN workflow_comms.runs AS run ON run.workflow_namespace = wanted.namespace AND run.workflow_uid = wanted.uid
