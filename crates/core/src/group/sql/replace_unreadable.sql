-- Makes slices whose cursors fail to parse ($2) read everything in the outbox, after a resync. No running consumer owns a slice
-- at the new epochs.
WITH unreadable AS (
    SELECT slice, epoch FROM pgherald.consumer_cursor
    WHERE group_name = $1 AND cursor = ANY ($2::text[])
    ORDER BY slice FOR UPDATE
), moved AS (
    UPDATE pgherald.consumer_cursor AS c
    SET cursor = '1:1: 0 1 ' || (SELECT trimmed FROM pgherald.outbox_retention), epoch = c.epoch + 1, generation = 0
    FROM unreadable AS u WHERE c.group_name = $1 AND c.slice = u.slice
    RETURNING c.slice, c.epoch
), taken AS (
    UPDATE pgherald.consumer_slice AS s SET node = NULL, epoch = m.epoch
    FROM moved AS m WHERE s.group_name = $1 AND s.slice = m.slice
), called AS (
    UPDATE pgherald.consumer_group AS g SET revision = g.revision + 1
    WHERE g.name = $1 AND EXISTS (SELECT FROM moved) RETURNING g.revision
)
INSERT INTO pgherald.parked_event (group_name, id, slice, sent_at, relation, hash, operation, key, attempts, due_at, delay)
-- The id is new, because an attempt at an earlier resync may be running.
SELECT $1, -(1::bigint << 40) - c.revision, (SELECT min(slice) FROM moved), clock_timestamp(), 0, 0, 'R', 'trimmed', 0,
    clock_timestamp(), 0
FROM called AS c
