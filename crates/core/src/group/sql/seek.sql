-- Moves all slices, and raises their epochs, so that no consumer owns them any more. Locks the cursors in the order in which
-- consumers write them.
locked AS (
    SELECT slice, epoch FROM pgherald.consumer_cursor WHERE group_name OPERATOR(pg_catalog.=) $1 ORDER BY slice FOR UPDATE
), changed AS (
    UPDATE pgherald.consumer_cursor AS c SET cursor = $2, epoch = c.epoch OPERATOR(pg_catalog.+) 1, generation = 0
    FROM locked AS l WHERE c.group_name OPERATOR(pg_catalog.=) $1 AND c.slice OPERATOR(pg_catalog.=) l.slice
    RETURNING c.slice, c.epoch
), taken AS (
    UPDATE pgherald.consumer_slice AS s SET node = NULL, epoch = c.epoch
    FROM changed AS c WHERE s.group_name OPERATOR(pg_catalog.=) $1 AND s.slice OPERATOR(pg_catalog.=) c.slice
)
