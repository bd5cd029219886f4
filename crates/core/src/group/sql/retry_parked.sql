chosen AS (
    -- The rows of the chosen events, and the last chosen event of each row. The lowest 24 bits of a relation stand for column
    -- types and are ignored, except in the small numbers of resyncs. The consumer's `Row` does the same.
    SELECT c.slice, c.relation, c.key IS NULL AS has_no_key, coalesce(c.key, '') AS key, pg_catalog.max(c.id) AS last
    FROM (
        SELECT p.id, p.slice, p.key, CASE
            WHEN p.relation OPERATOR(pg_catalog.<=) 16777215 AND p.relation OPERATOR(pg_catalog.>=) (-16777215) THEN p.relation
            ELSE p.relation OPERATOR(pg_catalog.&) (-16777216)
        END AS relation
        FROM pgherald.parked_event AS p
        WHERE p.group_name OPERATOR(pg_catalog.=) $1 AND p.dead_at IS NULL
            AND ($2::pg_catalog.int8[] IS NULL OR p.id OPERATOR(pg_catalog.=) ANY ($2))
    ) AS c
    GROUP BY 1, 2, 3, 4
), changed AS (
    -- Events without a due time wait behind an earlier one of their row.
    UPDATE pgherald.parked_event AS p SET due_at = pg_catalog.clock_timestamp(), delay = 0
    FROM chosen AS c
    WHERE p.group_name OPERATOR(pg_catalog.=) $1 AND p.dead_at IS NULL AND p.due_at IS NOT NULL
        AND p.slice OPERATOR(pg_catalog.=) c.slice AND p.id OPERATOR(pg_catalog.<=) c.last
        AND CASE
            WHEN p.relation OPERATOR(pg_catalog.<=) 16777215 AND p.relation OPERATOR(pg_catalog.>=) (-16777215) THEN p.relation
            ELSE p.relation OPERATOR(pg_catalog.&) (-16777216)
        END OPERATOR(pg_catalog.=) c.relation
        AND (p.key IS NULL) OPERATOR(pg_catalog.=) c.has_no_key AND coalesce(p.key, '') OPERATOR(pg_catalog.=) c.key
    RETURNING 1
), revised AS (
    -- Makes the consumers read their parked events that are due at once.
    UPDATE pgherald.consumer_group SET revision = revision OPERATOR(pg_catalog.+) 1
    WHERE name OPERATOR(pg_catalog.=) $1 AND EXISTS (SELECT FROM changed)
)
