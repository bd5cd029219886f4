WITH held AS (
    SELECT FROM pgherald.consumer_cursor
    WHERE group_name = $1 AND slice = $2 AND epoch = $3 AND generation = $4
    FOR SHARE
)
DELETE FROM pgherald.parked_event WHERE group_name = $1 AND id = $5 AND EXISTS (SELECT FROM held)
