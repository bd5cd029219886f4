-- Takes up to $3 slices that nobody has, or whose node is gone; or that this node has and does not know of ($4 are known).
UPDATE pgherald.consumer_slice AS s SET node = $2, epoch = s.epoch + 1
FROM (
    SELECT f.slice FROM pgherald.consumer_slice AS f
    WHERE f.group_name = $1 AND f.slice <> ALL ($4::int[]) AND (
        f.node IS NULL OR f.node = $2 OR NOT EXISTS (
            SELECT FROM pgherald.consumer_node AS n WHERE n.group_name = $1 AND n.id = f.node
        )
    )
    ORDER BY f.node IS DISTINCT FROM $2, f.slice LIMIT $3
    FOR UPDATE SKIP LOCKED
) AS free
WHERE s.group_name = $1 AND s.slice = free.slice
RETURNING s.slice, s.epoch, s.cursor
