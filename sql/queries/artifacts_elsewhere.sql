-- Artifacts that were read for runs of other namespaces; two arrays of one length, the namespaces that ask and the locations.
SELECT wanted.namespace, wanted.location
FROM unnest(%(namespaces)s::text[], %(locations)s::text[]) AS wanted (namespace, location)
WHERE EXISTS (
    SELECT FROM workflow_comms.artifacts AS read
    WHERE read.location = wanted.location AND read.workflow_namespace <> wanted.namespace
)
