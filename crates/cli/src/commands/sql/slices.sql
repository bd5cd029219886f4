-- The slices of group $1, with their consumers, epochs, lag in events, parked events and dead letters. The lag is null if the cursor
-- cannot be parsed. It is computed like the lag in the view consumer_group_status.
WITH point AS (
    SELECT c.slice, r.done, r.reading, r.position
    FROM pgherald.consumer_cursor AS c CROSS JOIN LATERAL pgherald.read_cursor(c.cursor) AS r
    WHERE c.group_name = $1 AND r.done IS NOT NULL
), lag AS (
    SELECT p.slice, count(*) AS events
    FROM pgherald.consumer_group AS g
    JOIN pgherald.outbox AS o ON true
    JOIN point AS p ON p.slice = (o.hash & 2147483647) % g.slices
    WHERE g.name = $1 AND NOT pg_visible_in_snapshot(o.xid, p.done)
        AND (p.reading IS NULL OR o.id > p.position OR NOT pg_visible_in_snapshot(o.xid, p.reading))
    GROUP BY p.slice
), aside AS (
    SELECT e.slice, count(*) FILTER (WHERE e.dead_at IS NULL) AS parked, count(*) FILTER (WHERE e.dead_at IS NOT NULL) AS dead
    FROM pgherald.parked_event AS e WHERE e.group_name = $1 GROUP BY e.slice
)
SELECT s.slice, n.description, s.epoch, CASE WHEN p.slice IS NOT NULL THEN coalesce(l.events, 0) END,
    coalesce(a.parked, 0), coalesce(a.dead, 0)
FROM pgherald.consumer_slice AS s
LEFT JOIN pgherald.consumer_node AS n ON n.group_name = s.group_name AND n.id = s.node
LEFT JOIN point AS p ON p.slice = s.slice
LEFT JOIN lag AS l ON l.slice = s.slice
LEFT JOIN aside AS a ON a.slice = s.slice
WHERE s.group_name = $1 ORDER BY s.slice
