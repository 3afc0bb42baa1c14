-- Deletes a batch of dead letters that are past the retention; those that somebody replays just now are left to them.
DELETE FROM workflow_comms.dead_letters WHERE id IN (
    SELECT id FROM workflow_comms.dead_letters
    WHERE first_seen_at < %(before)s
    ORDER BY first_seen_at
    LIMIT %(batch)s
    FOR UPDATE SKIP LOCKED
)
