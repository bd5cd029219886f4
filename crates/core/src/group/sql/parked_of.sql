-- What is parked of some slices, without the dead letters.
SELECT id, slice, relation, key, coalesce(extract(epoch FROM due_at - clock_timestamp())::float8, 0)
FROM pgherald.parked_event
WHERE group_name = $1 AND slice = ANY ($2::int[]) AND dead_at IS NULL
ORDER BY id
