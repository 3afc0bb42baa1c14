-- Notes what somebody did.
INSERT INTO workflow_comms.audit_log (who, how, source, action, workflow_namespace, target, details)
VALUES (%(who)s, %(how)s, %(source)s, %(action)s, %(namespace)s, %(target)s, %(details)s::jsonb)
