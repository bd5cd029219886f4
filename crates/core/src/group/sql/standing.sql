-- How the group stands, and which slices this node has.
SELECT g.slices, g.is_paused, g.revision,
    (SELECT count(*) FROM pgherald.consumer_node AS n WHERE n.group_name = g.name),
    (SELECT count(*) FROM pgherald.consumer_node AS n WHERE n.group_name = g.name AND n.id < $2),
    ARRAY(SELECT s.slice FROM pgherald.consumer_slice AS s WHERE s.group_name = g.name AND s.node = $2 ORDER BY slice),
    ARRAY(SELECT s.epoch FROM pgherald.consumer_slice AS s WHERE s.group_name = g.name AND s.node = $2 ORDER BY slice)
FROM pgherald.consumer_group AS g WHERE g.name = $1
