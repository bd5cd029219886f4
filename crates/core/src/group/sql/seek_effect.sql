-- The effect of moving group $1 to cursor $2: the number of events that are delivered again and of events that are skipped, with
-- the times at which the first and the last were recorded; the number of parked events and of dead letters among those that are
-- delivered again; and the number of slices whose cursors cannot be parsed, and whose events are left out. Returns no row if there
-- is no such group.
WITH point AS (
    SELECT c.slice, r.done, r.reading, r.position
    FROM (
        SELECT -1 AS slice, $2 AS cursor
        UNION ALL
        SELECT s.slice, s.cursor FROM pgherald.consumer_cursor AS s WHERE s.group_name OPERATOR(pg_catalog.=) $1
    ) AS c
    CROSS JOIN LATERAL pgherald.read_cursor(c.cursor) AS r
), effect AS (
    -- is_before: whether the event is yet to be delivered now. is_after: whether it is after the move.
    SELECT o.id, o.sent_at, s.is_after
    FROM pgherald.consumer_group AS g
    JOIN pgherald.outbox AS o ON true
    JOIN point AS p ON p.slice OPERATOR(pg_catalog.=) ((o.hash OPERATOR(pg_catalog.&) 2147483647) OPERATOR(pg_catalog.%) g.slices)
    JOIN point AS t ON t.slice OPERATOR(pg_catalog.=) (-1)
    CROSS JOIN LATERAL (
        SELECT NOT pg_catalog.pg_visible_in_snapshot(o.xid, p.done) AND (
                p.reading IS NULL OR o.id OPERATOR(pg_catalog.>) p.position
                OR NOT pg_catalog.pg_visible_in_snapshot(o.xid, p.reading)
            ) AS is_before,
            NOT pg_catalog.pg_visible_in_snapshot(o.xid, t.done) AND (
                t.reading IS NULL OR o.id OPERATOR(pg_catalog.>) t.position
                OR NOT pg_catalog.pg_visible_in_snapshot(o.xid, t.reading)
            ) AS is_after
    ) AS s
    WHERE g.name OPERATOR(pg_catalog.=) $1 AND p.done IS NOT NULL AND s.is_before OPERATOR(pg_catalog.<>) s.is_after
), summary AS (
    SELECT pg_catalog.count(*) FILTER (WHERE e.is_after) AS repeated,
        pg_catalog.min(e.sent_at) FILTER (WHERE e.is_after) AS repeated_from,
        pg_catalog.max(e.sent_at) FILTER (WHERE e.is_after) AS repeated_to,
        pg_catalog.count(*) FILTER (WHERE NOT e.is_after) AS skipped,
        pg_catalog.min(e.sent_at) FILTER (WHERE NOT e.is_after) AS skipped_from,
        pg_catalog.max(e.sent_at) FILTER (WHERE NOT e.is_after) AS skipped_to
    FROM effect AS e
), aside AS (
    SELECT pg_catalog.count(*) FILTER (WHERE p.dead_at IS NULL) AS parked,
        pg_catalog.count(*) FILTER (WHERE p.dead_at IS NOT NULL) AS dead
    FROM pgherald.parked_event AS p
    WHERE p.group_name OPERATOR(pg_catalog.=) $1
        AND EXISTS (SELECT FROM effect AS e WHERE e.id OPERATOR(pg_catalog.=) p.id AND e.is_after)
)
SELECT s.repeated, s.repeated_from, s.repeated_to, s.skipped, s.skipped_from, s.skipped_to, a.parked, a.dead,
    (SELECT pg_catalog.count(*) FROM point AS p WHERE p.done IS NULL) AS unreadable_slices
FROM summary AS s CROSS JOIN aside AS a
WHERE EXISTS (SELECT FROM pgherald.consumer_group AS g WHERE g.name OPERATOR(pg_catalog.=) $1)
