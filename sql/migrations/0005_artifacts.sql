-- What was read of finished runs' artifacts, so that what has not changed is not read again.

CREATE TABLE workflow_comms.artifacts (
    workflow_namespace text        COLLATE "C" NOT NULL,
    workflow_uid       text        COLLATE "C" NOT NULL,
    -- Where it is: the root, a slash, the key.
    location           text        COLLATE "C" NOT NULL,
    -- Another one whenever the content is, or what is read out of it.
    version            text        NOT NULL,
    -- reading: rows were added, and it isn't done yet. waiting: it can't be read now, and perhaps later. damaged: read
    -- as far as it can be. unneeded: a log, where the events say more.
    state              text        NOT NULL
        CONSTRAINT artifacts_state CHECK (state IN ('reading', 'read', 'waiting', 'damaged', 'unneeded')),
    -- Messages that were not there before it was read, ever since.
    inserted           bigint      NOT NULL DEFAULT 0,
    -- What there is in it: see flows/account.py.
    found              jsonb       NOT NULL DEFAULT '{}',
    read_at            timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT artifacts_pkey PRIMARY KEY (workflow_namespace, workflow_uid, location)
);
