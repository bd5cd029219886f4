INSERT INTO pgherald.consumer_node (group_name, id, description, lease_until, lease)
VALUES ($1, $2, $3, clock_timestamp() + make_interval(secs => $4), make_interval(secs => $4))
-- The node has joined before, but did not receive the answer.
ON CONFLICT (group_name, id) DO UPDATE SET lease_until = EXCLUDED.lease_until
