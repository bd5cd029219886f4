-- Updates no row if another node has deleted this one, because its lease had expired.
UPDATE pgherald.consumer_node
SET lease_until = clock_timestamp() + make_interval(secs => $3), problem = $4, usage = $5
WHERE group_name = $1 AND id = $2
