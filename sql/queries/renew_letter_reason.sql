-- Notes why a dead letter still cannot become a row.
UPDATE workflow_comms.dead_letters SET reason = %(reason)s, detail = %(detail)s WHERE id = %(id)s
