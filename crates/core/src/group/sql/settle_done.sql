WITH held AS (
    SELECT FROM pgherald.consumer_slice WHERE group_name = $1 AND slice = $2 AND epoch = $3 FOR SHARE
)
DELETE FROM pgherald.parked_event WHERE group_name = $1 AND id = $4 AND EXISTS (SELECT FROM held)
