-- For each slot which blocks have it: the slices of the indexed stretches from one to another, one behind the other.
SELECT slot, (
    SELECT string_agg(bits, ''::bytea)
    FROM (
        SELECT substr(slices.bits, 1 + slot %% 64 * 16, 16) AS bits
        FROM workflow_comms.search_slices AS slices
        WHERE slices.part = slot / 64 AND slices.segment BETWEEN %(first)s::bigint AND %(last)s::bigint
        ORDER BY slices.segment
    ) AS in_order
)
FROM unnest(%(slots)s::int[]) AS wanted (slot)
