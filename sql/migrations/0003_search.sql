-- Where messages can be found by their words, by who speaks and by what they are about, whoever's run
-- they belong to. Filled a moment after they are stored, by a process of its own: see web/indexer.py.
-- Nothing here can be read back into what was said.

-- A stretch of the live order that is indexed at once, up to the cursor `upto`.
CREATE TABLE workflow_comms.search_segments (
    segment  bigint      NOT NULL CONSTRAINT search_segments_pkey PRIMARY KEY,
    upto     bigint      NOT NULL,
    first_at timestamptz NOT NULL,
    last_at  timestamptz NOT NULL
);

-- At most 128 a segment: a few messages that follow each other in reading order, within 10 minutes.
CREATE TABLE workflow_comms.search_blocks (
    segment  bigint      NOT NULL,
    block    smallint    NOT NULL,
    first_at timestamptz NOT NULL,
    last_at  timestamptz NOT NULL,
    seqs     bigint[]    NOT NULL,
    CONSTRAINT search_blocks_pkey PRIMARY KEY (segment, block)
);

CREATE INDEX search_blocks_backwards ON workflow_comms.search_blocks (last_at, segment, block, first_at);
CREATE INDEX search_blocks_forwards ON workflow_comms.search_blocks (first_at, segment, block, last_at);

-- For each of 16,384 slots (see web/grams.py) and each segment, a slice of 16 bytes: bit n says
-- whether block n has the slot. 64 slots a row.
CREATE TABLE workflow_comms.search_slices (
    part    smallint NOT NULL,
    segment bigint   NOT NULL,
    bits    bytea    NOT NULL,
    CONSTRAINT search_slices_pkey PRIMARY KEY (part, segment)
);

-- The list of runs by what it is filtered by most.
CREATE INDEX runs_by_namespace ON workflow_comms.runs (workflow_namespace, last_at DESC, workflow_uid);
CREATE INDEX runs_by_state ON workflow_comms.runs (state, last_at DESC, workflow_namespace, workflow_uid);
