-- Empties the index of messages, for a database whose live order began anew.
TRUNCATE workflow_comms.search_segments, workflow_comms.search_blocks, workflow_comms.search_slices
