-- A run is told to be complete again and again, by a retry, a sensor or a hand, and not always with all that is known of it.

-- What an object says: its fields, save empty ones.
CREATE FUNCTION workflow_comms.said(part jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT coalesce(jsonb_object_agg(field, value), '{}')
    FROM jsonb_each(CASE WHEN jsonb_typeof(part) = 'object' THEN part ELSE '{}' END) AS said (field, value)
    WHERE value NOT IN ('null', '""', '{}', '[]')
$$;

-- All artifacts that either list names, in the order in which they were named first; of one key in one bucket what was said
-- last. Null where there are none.
CREATE FUNCTION workflow_comms.all_artifacts(earlier jsonb, later jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT jsonb_agg(artifact ORDER BY place)
    FROM (
        SELECT jsonb_object_agg(said.field, said.value ORDER BY number) AS artifact, min(number) AS place
        FROM jsonb_array_elements(
            CASE WHEN jsonb_typeof(earlier) = 'array' THEN earlier ELSE '[]' END
            || CASE WHEN jsonb_typeof(later) = 'array' THEN later ELSE '[]' END
        ) WITH ORDINALITY AS named (artifact, number)
        CROSS JOIN LATERAL jsonb_each(workflow_comms.said(artifact)) AS said (field, value)
        GROUP BY coalesce(artifact ->> 'key', artifact::text), coalesce(artifact ->> 'bucket', '')
    ) AS told
$$;

-- A run-complete payload, laid over what was told before: what it lacks stays, what it says replaces, and artifacts are
-- added to those that are known. `status` tells one end and is taken whole. What a sweep wrote was nobody's word.
CREATE FUNCTION workflow_comms.told_again(earlier jsonb, later jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT earlier.said
        || workflow_comms.said(later || jsonb_build_object('status', workflow_comms.said(later -> 'status')))
        || workflow_comms.said(jsonb_build_object(
            'metadata', workflow_comms.said(earlier.said -> 'metadata') || workflow_comms.said(later -> 'metadata'),
            'artifacts', workflow_comms.all_artifacts(earlier.said -> 'artifacts', later -> 'artifacts')
        ))
    FROM (SELECT CASE WHEN $1 @> '{"swept": true}' THEN '{}' ELSE workflow_comms.said($1) END AS said) AS earlier
$$;
