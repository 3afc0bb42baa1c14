-- How far the index of messages goes: its newest segment and the live cursor up to which it is; none where it is empty.
SELECT segment, upto FROM workflow_comms.search_segments ORDER BY segment DESC LIMIT 1
