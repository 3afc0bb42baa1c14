-- What is known of some runs before their artifacts are read; two arrays of one length, namespaces and uids.
SELECT
    run.workflow_namespace, run.workflow_uid, run.messages, run.pruned, run.agents, run.runtime, run.said_started_at,
    CASE WHEN run.said IN ('unknown', 'succeeded', 'failed') THEN run.said_at END AS said_ended_at, run.phase_started_at,
    run.phase_finished_at, run.phase, coalesce(run.phase_at, run.phase_finished_at) AS phase_at, run.noted_at,
    run.finished_at, run.begun_at, run.last_at
FROM unnest(%(namespaces)s::text[], %(uids)s::text[]) AS wanted (namespace, uid)
JOIN workflow_comms.runs AS run ON run.workflow_namespace = wanted.namespace AND run.workflow_uid = wanted.uid
