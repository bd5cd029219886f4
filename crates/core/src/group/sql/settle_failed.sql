WITH held AS (
    SELECT FROM pgherald.consumer_cursor
    WHERE group_name = $1 AND slice = $2 AND epoch = $3 AND generation = $4
    FOR SHARE
)
UPDATE pgherald.parked_event
SET attempts = $6, error = $7, due_at = clock_timestamp() + make_interval(secs => $8), delay = $8,
    dead_at = CASE WHEN $8::float8 IS NULL THEN clock_timestamp() END
WHERE group_name = $1 AND id = $5 AND EXISTS (SELECT FROM held)
