-- What was pruned, so that whoever resumes there is told of the gap; and the runs that are complete, to be reconciled.

-- One row a channel: messages up to this live cursor may be gone.
CREATE TABLE workflow_comms.pruned (
    channel text   COLLATE "C" NOT NULL,
    seq     bigint NOT NULL,
    CONSTRAINT pruned_pkey PRIMARY KEY (channel)
);

-- One row a run that its controller has called complete. Written by the web in the transaction in which it answers
-- 202, so that a crash loses none; worked through by the reconciliation.
CREATE TABLE workflow_comms.reconcile_queue (
    workflow_namespace text        COLLATE "C" NOT NULL,
    workflow_uid       text        COLLATE "C" NOT NULL,
    workflow_name      text        COLLATE "C" NOT NULL,
    run_id             text        COLLATE "C",
    -- The run-complete payload as an object of objects, whatever was a JSON string in it.
    payload            jsonb       NOT NULL,
    -- Grows when the controller says something else than before: whoever works on a run ends it only at the
    -- revision it has begun with.
    revision           integer     NOT NULL DEFAULT 1,
    state              text        NOT NULL DEFAULT 'queued'
        CONSTRAINT reconcile_queue_state CHECK (state IN ('queued', 'running', 'done', 'failed')),
    attempts           integer     NOT NULL DEFAULT 0,
    last_error         text,
    report             jsonb,
    queued_at          timestamptz NOT NULL DEFAULT now(),
    next_try_at        timestamptz NOT NULL DEFAULT now(),
    started_at         timestamptz,
    finished_at        timestamptz,
    CONSTRAINT reconcile_queue_pkey PRIMARY KEY (workflow_namespace, workflow_uid)
);

CREATE INDEX reconcile_queue_due ON workflow_comms.reconcile_queue (state, next_try_at);
