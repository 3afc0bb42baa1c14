-- What people did, and the roles that the programs run as.

-- Who did what, and when: what was said by a person, runs that were called complete, sign-ins, and what operators did.
-- Programs add to it; nobody but its owner reads or changes it.
CREATE TABLE workflow_comms.audit_log (
    id                 bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    at                 timestamptz NOT NULL DEFAULT now(),
    -- The reader's name; null where nobody is asked who they are. Of an operator, the user of the system.
    who                text,
    -- How they said who they are: none, token, cookie, proxy, shell.
    how                text        NOT NULL,
    -- Where they came from, an address or a host.
    source             text,
    -- Such as said, completed, signed-in, sign-in-refused, signed-out, replayed-dead-letters.
    action             text        NOT NULL,
    workflow_namespace text        COLLATE "C",
    -- What it was done to, such as a message's id or a run's uid.
    target             text,
    details            jsonb       NOT NULL DEFAULT '{}',
    -- Who was connected to the database.
    database_user      text        NOT NULL DEFAULT session_user,
    CONSTRAINT audit_log_pkey PRIMARY KEY (id)
);

CREATE INDEX audit_log_by_time ON workflow_comms.audit_log (at);

-- Creates the roles of the programs where it may, and grants them what each needs. Safe to call again, as
-- `agent-comms migrate` does; returns what somebody with more rights has to run first, a statement a row.
--   agent_comms_web       pages and API: reads what agent_comms.namespaces lets it, queues completed runs, keeps the index
--   agent_comms_ingest    the flow: adds messages, runs and dead letters
--   agent_comms_backfill  backfill and reconciliation: that, and the queue and the account of artifacts
-- They can't log in: who can is made a member. Members of the latter two take BYPASSRLS, or Postgres refuses their COPY.
CREATE FUNCTION workflow_comms.grant_roles() RETURNS SETOF text LANGUAGE plpgsql
AS $$
DECLARE
    role text;
    missing text[] := '{}';
BEGIN
    FOREACH role IN ARRAY ARRAY['agent_comms_web', 'agent_comms_ingest', 'agent_comms_backfill'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role);
            EXCEPTION
                -- Another database of this server has just got them.
                WHEN duplicate_object OR unique_violation THEN NULL;
                WHEN insufficient_privilege THEN missing := missing || role;
            END;
        END IF;
    END LOOP;
    IF cardinality(missing) > 0 THEN
        RETURN QUERY SELECT format('CREATE ROLE %I NOLOGIN;', name) FROM unnest(missing) AS name;
        IF 'agent_comms_web' = ANY (missing) THEN
            RETURN QUERY SELECT format('GRANT agent_comms_web TO %I;', current_user);
        END IF;
        RETURN;
    END IF;
    -- The owner's web takes the role by itself. Whoever has made a role need not be able to, from version 16 on.
    IF NOT pg_has_role(
        'agent_comms_web', CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END
    ) THEN
        BEGIN
            EXECUTE format('GRANT agent_comms_web TO %I', current_user);
        EXCEPTION WHEN insufficient_privilege THEN
            RETURN QUERY SELECT format('GRANT agent_comms_web TO %I;', current_user);
        END;
    END IF;

    GRANT USAGE ON SCHEMA workflow_comms TO agent_comms_web, agent_comms_ingest, agent_comms_backfill;
    GRANT SELECT ON workflow_comms.migrations TO agent_comms_web, agent_comms_ingest, agent_comms_backfill;

    GRANT SELECT ON workflow_comms.agent_messages, workflow_comms.runs, workflow_comms.dead_letters,
        workflow_comms.reconcile_queue, workflow_comms.pruned TO agent_comms_web;
    GRANT INSERT (workflow_namespace, workflow_uid, workflow_name, named_at, run_id, run_id_at, phase,
            phase_started_at, phase_finished_at),
        UPDATE (workflow_name, named_at, run_id, run_id_at, phase, phase_started_at, phase_finished_at)
        ON workflow_comms.runs TO agent_comms_web;
    GRANT INSERT (workflow_namespace, workflow_uid, workflow_name, run_id, payload),
        UPDATE (workflow_name, run_id, payload, revision, state, attempts, last_error, queued_at, next_try_at)
        ON workflow_comms.reconcile_queue TO agent_comms_web;
    GRANT SELECT, INSERT, DELETE, TRUNCATE ON workflow_comms.search_segments, workflow_comms.search_blocks,
        workflow_comms.search_slices TO agent_comms_web;
    GRANT INSERT (who, how, source, action, workflow_namespace, target, details)
        ON workflow_comms.audit_log TO agent_comms_web, agent_comms_backfill;
    GRANT EXECUTE ON FUNCTION workflow_comms.newest_seq(), workflow_comms.seqs_after(text, bigint, bigint),
        workflow_comms.next_stored_after(bigint), workflow_comms.newest_seqs_after(bigint, bigint, bigint)
        TO agent_comms_web;

    GRANT SELECT, INSERT ON workflow_comms.agent_messages TO agent_comms_ingest, agent_comms_backfill;
    GRANT SELECT, INSERT, UPDATE ON workflow_comms.runs TO agent_comms_ingest, agent_comms_backfill;
    GRANT SELECT, INSERT ON workflow_comms.dead_letters TO agent_comms_ingest, agent_comms_backfill;
    GRANT UPDATE (deliveries) ON workflow_comms.dead_letters TO agent_comms_ingest, agent_comms_backfill;

    GRANT SELECT, INSERT, UPDATE ON workflow_comms.reconcile_queue, workflow_comms.artifacts TO agent_comms_backfill;
END
$$;

-- Not for everybody who may connect.
REVOKE EXECUTE ON FUNCTION workflow_comms.grant_roles() FROM PUBLIC;

SELECT workflow_comms.grant_roles();
