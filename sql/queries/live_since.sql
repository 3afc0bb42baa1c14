-- Whether somebody who recovers nothing has stored a message after a cursor.
SELECT EXISTS (
    SELECT FROM workflow_comms.agent_messages
    WHERE channel = ANY ('{run,general}') AND seq > %(seq)s AND attrs ->> 'source' IS DISTINCT FROM 'backfill'
)
