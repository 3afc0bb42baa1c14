-- What the flows said of themselves last, the newest word first; with how many seconds ago that was, and how many seconds
-- ago each stored something.
SELECT flow, extract(epoch FROM now() - said_at)::float8, pending, unacked, received, stored,
       extract(epoch FROM now() - stored_at)::float8, oldest_s
FROM workflow_comms.pulses
ORDER BY said_at DESC
LIMIT %(limit)s::bigint
