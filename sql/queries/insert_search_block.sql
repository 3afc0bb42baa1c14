-- Adds a block of messages to an indexed stretch.
INSERT INTO workflow_comms.search_blocks (segment, block, first_at, last_at, seqs)
VALUES (%(segment)s, %(block)s, %(first_at)s, %(last_at)s, %(seqs)s)
