-- The same policies as in 0007, without functions of ours: the planner took them apart anew for each query of each table,
-- which was a good part of what keeping readers apart costs. Each of the two is still asked once a query, not once a row.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['agent_messages', 'runs', 'dead_letters', 'reconcile_queue', 'artifacts'] LOOP
        EXECUTE format(
            'ALTER POLICY readers ON workflow_comms.%I USING ('
            '(SELECT ''*'' = ANY (nullif(current_setting(''agent_comms.namespaces'', true), '''')::text[]))'
            ' OR workflow_namespace = ANY ((SELECT nullif(current_setting(''agent_comms.namespaces'', true), '''')::text[])::text[]))',
            name
        );
    END LOOP;
END
$$;

DROP FUNCTION workflow_comms.reads_everything(), workflow_comms.readable_namespaces();
