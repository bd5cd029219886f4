-- What is parked of some slices, without the dead letters, and in how many seconds it is due: in no more than there were when
-- that was written, for the clock may have been set back since.
SELECT id, slice, relation, key,
    CASE
        WHEN due_at IS NULL THEN 0
        -- One after the other: not all servers have differences to infinity.
        ELSE least((extract(epoch FROM due_at) - extract(epoch FROM clock_timestamp()))::float8, delay)
    END
FROM pgherald.parked_event
WHERE group_name = $1 AND slice = ANY ($2::int[]) AND dead_at IS NULL
ORDER BY id
