-- Of some namespaces those that have runs, one look into the index each.
SELECT part.namespace
FROM unnest(%(namespaces)s::text[]) AS part (namespace)
WHERE EXISTS (SELECT FROM workflow_comms.runs WHERE workflow_namespace = part.namespace)
ORDER BY part.namespace COLLATE "C"
LIMIT %(limit)s::bigint
