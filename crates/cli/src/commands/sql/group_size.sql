-- The rows that are deleted with group $1: the numbers of cursors, parked events and dead letters, and the required tables.
SELECT (SELECT count(*) FROM pgherald.consumer_cursor AS c WHERE c.group_name = g.name),
    (SELECT count(*) FROM pgherald.parked_event AS p WHERE p.group_name = g.name AND p.dead_at IS NULL),
    (SELECT count(*) FROM pgherald.parked_event AS p WHERE p.group_name = g.name AND p.dead_at IS NOT NULL),
    ARRAY(
        SELECT format('%s.%s', r.schema_name, r.table_name) FROM pgherald.consumer_requirement AS r
        WHERE r.group_name = g.name ORDER BY 1
    )
FROM pgherald.consumer_group AS g WHERE g.name = $1
