-- A run that was reported complete before any message of it has come is listed, too: by when it ended, until somebody speaks
-- in it. When it began is what is known of that. The indexes' order is as before, and so is what they cost. Written by CASE:
-- of COALESCE Postgres takes it that it could leak what a policy hides, and reads no index by it.
DROP INDEX workflow_comms.runs_by_activity, workflow_comms.runs_by_namespace, workflow_comms.runs_by_state;
CREATE INDEX runs_by_activity
    ON workflow_comms.runs (
        (CASE WHEN last_at IS NULL THEN finished_at ELSE last_at END) DESC, workflow_namespace, workflow_uid,
        (CASE WHEN first_at IS NOT NULL THEN first_at WHEN started_at IS NOT NULL THEN started_at ELSE finished_at END)
    );
CREATE INDEX runs_by_namespace
    ON workflow_comms.runs (
        workflow_namespace, (CASE WHEN last_at IS NULL THEN finished_at ELSE last_at END) DESC, workflow_uid,
        (CASE WHEN first_at IS NOT NULL THEN first_at WHEN started_at IS NOT NULL THEN started_at ELSE finished_at END)
    );
CREATE INDEX runs_by_state
    ON workflow_comms.runs (
        state, (CASE WHEN last_at IS NULL THEN finished_at ELSE last_at END) DESC, workflow_namespace, workflow_uid,
        (CASE WHEN first_at IS NOT NULL THEN first_at WHEN started_at IS NOT NULL THEN started_at ELSE finished_at END)
    );

-- The mark of the controller's word for a name or a run id (migration 0002): later than anything that a message says, and,
-- unlike infinity, a time that every client can read.
CREATE FUNCTION workflow_comms.unsaid() RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT '9999-01-01T00:00:00Z'::timestamptz $$;

UPDATE workflow_comms.runs
SET named_at = CASE WHEN named_at = 'infinity' THEN workflow_comms.unsaid() ELSE named_at END,
    run_id_at = CASE WHEN run_id_at = 'infinity' THEN workflow_comms.unsaid() ELSE run_id_at END
WHERE named_at = 'infinity' OR run_id_at = 'infinity';

-- A web process of the version before goes on writing infinity until it is replaced.
CREATE FUNCTION workflow_comms.mark_finitely() RETURNS trigger LANGUAGE plpgsql
AS $$
BEGIN
    NEW.named_at := CASE WHEN NEW.named_at = 'infinity' THEN workflow_comms.unsaid() ELSE NEW.named_at END;
    NEW.run_id_at := CASE WHEN NEW.run_id_at = 'infinity' THEN workflow_comms.unsaid() ELSE NEW.run_id_at END;
    RETURN NEW;
END
$$;

CREATE TRIGGER runs_mark_finitely BEFORE INSERT ON workflow_comms.runs
    FOR EACH ROW WHEN (NEW.named_at = 'infinity' OR NEW.run_id_at = 'infinity')
    EXECUTE FUNCTION workflow_comms.mark_finitely();

-- Of what an expression comes to, the planner knows nothing before it has looked.
ANALYZE workflow_comms.runs;
