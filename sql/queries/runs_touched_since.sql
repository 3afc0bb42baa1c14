-- The keys of the runs that said something after a live cursor, and the last place where each did.
-- From at most so many messages of everybody; how many those were stands in each row, and in one without a key.
WITH later AS MATERIALIZED (
    SELECT seq FROM workflow_comms.seqs_after('run', %(seq)s::bigint, %(limit)s::bigint) AS seq
)
SELECT workflow_namespace, workflow_uid, max(seq), (SELECT count(*) FROM later)
FROM workflow_comms.agent_messages
WHERE channel = 'run' AND seq = ANY (ARRAY(SELECT seq FROM later)) AND workflow_uid IS NOT NULL
GROUP BY workflow_namespace, workflow_uid
UNION ALL
SELECT NULL, NULL, NULL, count(*) FROM later
