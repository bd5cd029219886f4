-- Waits for one that is being renewed, and looks again.
DELETE FROM pgherald.consumer_node WHERE group_name = $1 AND lease_until <= clock_timestamp()
