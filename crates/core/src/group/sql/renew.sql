-- No row: the lease was over, and somebody has noticed.
UPDATE pgherald.consumer_node SET lease_until = clock_timestamp() + make_interval(secs => $3)
WHERE group_name = $1 AND id = $2
