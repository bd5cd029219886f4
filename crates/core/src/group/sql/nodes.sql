-- The consumers of all groups, with the remaining time of their leases and the number of their slices.
SELECT n.group_name, n.id, n.description,
    pg_catalog.date_part('epoch', n.lease_until OPERATOR(pg_catalog.-) pg_catalog.clock_timestamp()) AS lease_seconds,
    (SELECT pg_catalog.count(*) FROM pgherald.consumer_slice AS s
        WHERE s.group_name OPERATOR(pg_catalog.=) n.group_name AND s.node OPERATOR(pg_catalog.=) n.id) AS slices
FROM pgherald.consumer_node AS n
ORDER BY n.group_name, n.description, n.id
