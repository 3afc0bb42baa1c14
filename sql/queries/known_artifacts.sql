-- What was read of some runs' artifacts; two arrays of one length, namespaces and uids.
SELECT read.workflow_namespace, read.workflow_uid, read.location, read.version, read.state, read.inserted, read.found
FROM unnest(%(namespaces)s::text[], %(uids)s::text[]) AS wanted (namespace, uid)
JOIN workflow_comms.artifacts AS read ON read.workflow_namespace = wanted.namespace AND read.workflow_uid = wanted.uid
