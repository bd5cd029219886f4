-- The consumers of all groups, with the remaining time of their leases and the number of their slices.
SELECT n.group_name, n.id, n.description, extract(epoch FROM n.lease_until - clock_timestamp())::float8,
    (SELECT count(*) FROM pgherald.consumer_slice AS s WHERE s.group_name = n.group_name AND s.node = n.id)
FROM pgherald.consumer_node AS n
ORDER BY n.group_name, n.description, n.id
