-- The live cursor of all that is committed, pruned messages included: the newest `seq` of both channels, 0 where nothing is.
SELECT coalesce(greatest(
    (SELECT seq FROM workflow_comms.agent_messages WHERE channel = 'run' ORDER BY seq DESC LIMIT 1),
    (SELECT seq FROM workflow_comms.agent_messages WHERE channel = 'general' ORDER BY seq DESC LIMIT 1),
    (SELECT seq FROM workflow_comms.pruned WHERE channel = 'run'),
    (SELECT seq FROM workflow_comms.pruned WHERE channel = 'general')
), 0)
