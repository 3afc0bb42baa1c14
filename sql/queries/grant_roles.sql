-- Creates the roles of the programs where that may be done, grants what each needs, and returns what is left to others.
SELECT * FROM workflow_comms.grant_roles()
