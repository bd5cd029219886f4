-- What is parked of some slices, without the dead letters.
SELECT id, slice, relation, key, 
    -- One after the other: not all servers have differences to infinity.
    coalesce((extract(epoch FROM due_at) - extract(epoch FROM clock_timestamp()))::float8, 0)
FROM pgherald.parked_event
WHERE group_name = $1 AND slice = ANY ($2::int[]) AND dead_at IS NULL
ORDER BY id
