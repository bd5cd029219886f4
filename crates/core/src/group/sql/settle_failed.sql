WITH held AS (
    SELECT FROM pgherald.consumer_slice WHERE group_name = $1 AND slice = $2 AND epoch = $3 FOR SHARE
)
UPDATE pgherald.parked_event
SET attempts = $5, error = $6, due_at = clock_timestamp() + make_interval(secs => $7),
    dead_at = CASE WHEN $7::float8 IS NULL THEN clock_timestamp() END
WHERE group_name = $1 AND id = $4 AND EXISTS (SELECT FROM held)
