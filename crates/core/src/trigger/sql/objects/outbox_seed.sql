-- Inserts the rows that readers and trimming rely on, if they are missing. The count of closings continues from the last one in
-- parts, cursors and groups. Every earlier closing counts as emptied, so that a reader that is behind it gets a resync.
INSERT INTO pgherald.outbox_retention (closed, trimmed, keep, max_bytes)
SELECT n, n, '1 day', 10737418240
FROM (SELECT greatest(
    0, (SELECT max(closed) FROM pgherald.outbox_part), (SELECT max(trimmed) FROM pgherald.consumer_group),
    (SELECT max(r.closed) FROM pgherald.consumer_cursor AS c CROSS JOIN LATERAL pgherald.read_cursor(c.cursor) AS r)
) AS n) AS closings
ON CONFLICT DO NOTHING;
INSERT INTO pgherald.outbox_part (part) VALUES (0), (1), (2), (3) ON CONFLICT DO NOTHING;
