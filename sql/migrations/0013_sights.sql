-- A role of the web's for each kind of reader. One policy for all kinds takes two questions of the planner's own for each
-- table of each query, whoever asks; these take none:
--   agent_comms_web_all   sees every row
--   agent_comms_web_one   sees the rows of agent_comms.namespace, a namespace
-- Whoever reads several namespaces is answered as agent_comms_web, as before: see 0012. These two only read. The web
-- takes them by SET ROLE and inherits nothing of them, so that who forgets to is agent_comms_web, and sees nothing.
ALTER FUNCTION workflow_comms.grant_roles() RENAME TO grant_roles_for_sessions;

CREATE FUNCTION workflow_comms.grant_roles() RETURNS SETOF text LANGUAGE plpgsql
AS $$
DECLARE
    sights CONSTANT text[] := ARRAY['agent_comms_web_all', 'agent_comms_web_one'];
    is_old CONSTANT boolean := current_setting('server_version_num')::int < 160000;
    role text;
    name text;
    statement text;
    kept_apart boolean;
BEGIN
    RETURN QUERY SELECT missing FROM workflow_comms.grant_roles_for_sessions() AS missing;

    FOREACH role IN ARRAY sights LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role);
            EXCEPTION
                -- Another database of this server has just got it.
                WHEN duplicate_object OR unique_violation THEN NULL;
                WHEN insufficient_privilege THEN RETURN NEXT format('CREATE ROLE %I NOLOGIN;', role);
            END;
        END IF;
    END LOOP;

    -- May be taken, and gives nothing before it is: from version 16 on that is said of each membership, until then of
    -- the member.
    IF is_old AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'agent_comms_web' AND rolinherit) THEN
        BEGIN
            ALTER ROLE agent_comms_web NOINHERIT;
        EXCEPTION WHEN insufficient_privilege THEN
            RETURN NEXT 'ALTER ROLE agent_comms_web NOINHERIT;';
        END;
    END IF;
    FOREACH role IN ARRAY sights LOOP
        -- Not asked where one of them is still to be made.
        SELECT pg_has_role(web.oid, one.oid, CASE WHEN is_old THEN 'MEMBER' ELSE 'SET' END)
            AND NOT pg_has_role(web.oid, one.oid, 'USAGE')
        INTO kept_apart
        FROM pg_roles AS web, pg_roles AS one
        WHERE web.rolname = 'agent_comms_web' AND one.rolname = role;
        IF NOT coalesce(kept_apart, false) THEN
            statement := format('GRANT %I TO agent_comms_web', role);
            IF NOT is_old THEN
                statement := statement || ' WITH INHERIT FALSE, SET TRUE';
            END IF;
            BEGIN
                EXECUTE statement;
            EXCEPTION WHEN insufficient_privilege OR undefined_object THEN
                RETURN NEXT statement || ';';
            END;
        END IF;
    END LOOP;

    IF 3 > (SELECT count(*) FROM pg_roles WHERE rolname = ANY (sights) OR rolname = 'agent_comms_web') THEN
        RETURN;
    END IF;
    GRANT USAGE ON SCHEMA workflow_comms TO agent_comms_web_all, agent_comms_web_one;
    GRANT SELECT ON workflow_comms.migrations, workflow_comms.agent_messages, workflow_comms.runs,
        workflow_comms.dead_letters, workflow_comms.reconcile_queue, workflow_comms.pruned, workflow_comms.pulses,
        workflow_comms.search_segments, workflow_comms.search_blocks, workflow_comms.search_slices
        TO agent_comms_web_all, agent_comms_web_one;
    GRANT EXECUTE ON FUNCTION workflow_comms.newest_seq(), workflow_comms.seqs_after(text, bigint, bigint),
        workflow_comms.next_stored_after(bigint), workflow_comms.newest_seqs_after(bigint, bigint, bigint)
        TO agent_comms_web_all, agent_comms_web_one;

    FOREACH name IN ARRAY ARRAY['agent_messages', 'runs', 'dead_letters', 'reconcile_queue', 'artifacts'] LOOP
        -- Once: each takes a lock that reads and writes wait for.
        IF EXISTS (
            SELECT FROM pg_policy
            WHERE polrelid = format('workflow_comms.%I', name)::regclass AND polname = 'readers_of_one'
        ) THEN
            CONTINUE;
        END IF;
        EXECUTE format('ALTER POLICY readers ON workflow_comms.%I TO agent_comms_web', name);
        EXECUTE format(
            'CREATE POLICY readers_of_all ON workflow_comms.%I FOR SELECT TO agent_comms_web_all USING (true)', name
        );
        EXECUTE format(
            'CREATE POLICY readers_of_one ON workflow_comms.%I FOR SELECT TO agent_comms_web_one USING ('
            'workflow_namespace = nullif(current_setting(''agent_comms.namespace'', true), ''''))',
            name
        );
    END LOOP;
END
$$;

REVOKE EXECUTE ON FUNCTION workflow_comms.grant_roles() FROM PUBLIC;

SELECT workflow_comms.grant_roles();
