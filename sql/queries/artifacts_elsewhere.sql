-- Which of some artifacts, by their locations, were read for runs of other namespaces than one.
SELECT wanted.location
FROM unnest(%(names)s::text[]) AS wanted (location)
WHERE EXISTS (
    SELECT FROM workflow_comms.artifacts AS read
    WHERE read.location = wanted.location AND read.workflow_namespace <> %(namespace)s::text
)
