-- Notes that dead letters have become rows.
UPDATE workflow_comms.dead_letters SET replayed_at = now() WHERE id = ANY (%(ids)s) AND replayed_at IS NULL
