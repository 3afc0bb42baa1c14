-- Notes a stretch of the live order as indexed.
INSERT INTO workflow_comms.search_segments (segment, upto, first_at, last_at)
VALUES (%(segment)s, %(upto)s, %(first_at)s, %(last_at)s)
