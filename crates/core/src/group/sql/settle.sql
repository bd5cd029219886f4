-- Writes the outcomes of attempts at parked events, for slices that this node still owns: deletes events that were handled, and
-- stores the errors of attempts that failed.
WITH held AS MATERIALIZED (
    -- Locks the cursors in the order in which other statements lock them.
    SELECT n.slice
    FROM (
        SELECT * FROM unnest($2::int[], $3::bigint[], $4::bigint[]) AS u (slice, epoch, generation) ORDER BY u.slice
    ) AS n
    -- The limit makes the server look up each cursor by its whole key, rather than scan all versions of all cursors. Fences a
    -- consumer that has lost the slice: after a wait for the row's lock, the server checks the conditions on the new version.
    CROSS JOIN LATERAL (
        SELECT FROM pgherald.consumer_cursor AS c
        WHERE c.group_name = $1 AND c.slice = n.slice AND c.epoch = n.epoch AND c.generation = n.generation
        LIMIT 1 FOR SHARE
    ) AS l
), asked AS MATERIALIZED (
    SELECT a.* FROM unnest($5::bigint[], $6::int[], $7::bool[], $8::int[], $9::text[], $10::float8[])
        AS a (id, slice, has_failed, attempts, error, delay)
    JOIN held AS h ON h.slice = a.slice
), done AS (
    DELETE FROM pgherald.parked_event AS p USING asked AS a
    WHERE p.group_name = $1 AND p.id = a.id AND NOT a.has_failed
)
UPDATE pgherald.parked_event AS p
SET attempts = a.attempts, error = a.error, due_at = clock_timestamp() + make_interval(secs => a.delay), delay = a.delay,
    dead_at = CASE WHEN a.delay IS NULL THEN clock_timestamp() END
FROM asked AS a
WHERE p.group_name = $1 AND p.id = a.id AND a.has_failed
