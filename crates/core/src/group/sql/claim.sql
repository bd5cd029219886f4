-- Claims up to $3 slices that no node owns, whose node no longer exists, or that this node owns but does not know ($4 are known).
-- Skips slices whose cursor is locked: the previous owner may still advance it.
WITH free AS (
    SELECT f.slice, f.epoch FROM pgherald.consumer_slice AS f
    JOIN pgherald.consumer_cursor AS c ON c.group_name = f.group_name AND c.slice = f.slice AND c.epoch = f.epoch
    WHERE f.group_name = $1 AND f.slice <> ALL ($4::int[]) AND (
        f.node IS NULL OR f.node = $2 OR NOT EXISTS (
            SELECT FROM pgherald.consumer_node AS n WHERE n.group_name = $1 AND n.id = f.node
        )
    )
    ORDER BY f.node IS DISTINCT FROM $2, f.slice LIMIT $3
    FOR UPDATE OF f, c SKIP LOCKED
), taken AS (
    UPDATE pgherald.consumer_slice AS s SET node = $2, epoch = free.epoch + 1
    FROM free WHERE s.group_name = $1 AND s.slice = free.slice
)
-- The epoch is not compared here: a seek may have raised it before the cursor was locked.
UPDATE pgherald.consumer_cursor AS c SET epoch = free.epoch + 1, generation = 0
FROM free WHERE c.group_name = $1 AND c.slice = free.slice
RETURNING c.slice, c.epoch, c.cursor, c.stored
