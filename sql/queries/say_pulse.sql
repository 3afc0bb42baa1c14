-- What a flow says of itself, in the place of what it said last; what flows said that are long gone is forgotten.
WITH gone AS (
    DELETE FROM workflow_comms.pulses WHERE said_at < now() - interval '1 d' AND flow <> %(flow)s
)
INSERT INTO workflow_comms.pulses
    (flow, started_at, pending, unacked, received, stored, duplicates, dead_letters, stored_at, oldest_s)
VALUES (
    %(flow)s, %(started_at)s, %(pending)s::bigint, %(unacked)s::bigint, %(received)s::bigint, %(stored)s::bigint,
    %(duplicates)s::bigint, %(dead_letters)s::bigint, %(stored_at)s::timestamptz, %(oldest_s)s::double precision
)
ON CONFLICT ON CONSTRAINT pulses_pkey DO UPDATE
SET said_at = now(), pending = excluded.pending, unacked = excluded.unacked, received = excluded.received,
    stored = excluded.stored, duplicates = excluded.duplicates, dead_letters = excluded.dead_letters,
    stored_at = excluded.stored_at, oldest_s = excluded.oldest_s
