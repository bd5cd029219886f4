-- The state of the group, its nodes, and the slices of this node.
SELECT g.slices, g.is_paused, g.revision,
    ARRAY(SELECT n.id FROM pgherald.consumer_node AS n WHERE n.group_name = g.name ORDER BY n.id) AS nodes,
    ARRAY(SELECT n.lease_until FROM pgherald.consumer_node AS n WHERE n.group_name = g.name ORDER BY n.id) AS leases_until,
    ARRAY(
        SELECT extract(epoch FROM n.lease)::float8 FROM pgherald.consumer_node AS n WHERE n.group_name = g.name ORDER BY n.id
    ) AS lease_seconds,
    ARRAY(SELECT s.slice FROM pgherald.consumer_slice AS s WHERE s.group_name = g.name AND s.node = $2 ORDER BY slice) AS owned,
    ARRAY(SELECT s.epoch FROM pgherald.consumer_slice AS s WHERE s.group_name = g.name AND s.node = $2 ORDER BY slice) AS epochs
FROM pgherald.consumer_group AS g WHERE g.name = $1
