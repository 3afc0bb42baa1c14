-- What else became of what a flow received: what was stored already, and what could not become a row.
ALTER TABLE workflow_comms.pulses
    -- Of this flow, since it started. Null: it doesn't tell.
    ADD COLUMN duplicates   bigint,
    ADD COLUMN dead_letters bigint;
