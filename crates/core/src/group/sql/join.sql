INSERT INTO pgherald.consumer_node (group_name, id, description, lease_until)
VALUES ($1, $2, $3, clock_timestamp() + make_interval(secs => $4))
