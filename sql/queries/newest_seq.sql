-- The live cursor of all that is committed, pruned messages included: the newest `seq` of both channels, 0 where nothing is.
SELECT workflow_comms.newest_seq()
