-- Updates or deletes the dead letters with the ids $2, or all, and makes the consumers read their parked events that are due at once.
changed AS (
    {{action}}
    WHERE group_name OPERATOR(pg_catalog.=) $1 AND dead_at IS NOT NULL
        AND ($2::bigint[] IS NULL OR id OPERATOR(pg_catalog.=) ANY ($2)) RETURNING 1
), revised AS (
    UPDATE pgherald.consumer_group SET revision = revision OPERATOR(pg_catalog.+) 1
    WHERE name OPERATOR(pg_catalog.=) $1 AND EXISTS (SELECT FROM changed)
)
