-- The parked events of some slices that fulfil a condition, without dead letters, and in how many seconds each is due. That is never more than the wait
-- that was stored, because the clock may have been set back since.
SELECT id, slice, relation, key,
    CASE
        WHEN due_at IS NULL THEN 0
        -- Two subtractions, because not all servers can subtract from infinity.
        ELSE least((extract(epoch FROM due_at) - extract(epoch FROM clock_timestamp()))::float8, delay)
    END AS due_in
FROM pgherald.parked_event
WHERE group_name = $1 AND slice = ANY ($2::int[]) AND dead_at IS NULL{{which}}
ORDER BY id
