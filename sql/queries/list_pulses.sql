-- What the flows said of themselves last, the newest word first; with how many seconds ago each
-- started, said it and stored something.
SELECT flow, extract(epoch FROM now() - started_at)::float8, extract(epoch FROM now() - said_at)::float8, pending, unacked,
       received, stored, duplicates, dead_letters, extract(epoch FROM now() - stored_at)::float8, oldest_s
FROM workflow_comms.pulses
ORDER BY said_at DESC
LIMIT %(limit)s::bigint
