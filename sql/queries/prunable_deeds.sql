-- Counts the rows of the audit log that are past its retention.
SELECT count(*) FROM workflow_comms.audit_log WHERE at < %(before)s
