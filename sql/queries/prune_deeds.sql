-- Deletes a batch of the audit log that is past its retention.
DELETE FROM workflow_comms.audit_log WHERE id IN (
    SELECT id FROM workflow_comms.audit_log
    WHERE at < %(before)s
    ORDER BY at
    LIMIT %(batch)s
    FOR UPDATE SKIP LOCKED
)
