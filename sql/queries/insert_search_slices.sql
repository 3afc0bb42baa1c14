-- Adds the slices of an indexed stretch, joined to parts, in the order of their slots.
INSERT INTO workflow_comms.search_slices (part, segment, bits)
SELECT position - 1, %(segment)s, bits FROM unnest(%(parts)s::bytea[]) WITH ORDINALITY AS given (bits, position)
