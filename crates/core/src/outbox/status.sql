-- The size of the outbox with its indexes, the age of its oldest row, and the limits of its retention.
SELECT
    (
        SELECT pg_catalog.sum(pg_catalog.pg_total_relation_size(i.inhrelid))::pg_catalog.int8
        FROM pg_catalog.pg_inherits AS i
        WHERE i.inhparent OPERATOR(pg_catalog.=) 'pgherald.outbox'::pg_catalog.regclass::pg_catalog.oid
    ) AS bytes,
    max_bytes,
    extract(epoch FROM pg_catalog.clock_timestamp())::pg_catalog.float8 OPERATOR(pg_catalog.-) (
        SELECT extract(epoch FROM o.sent_at)::pg_catalog.float8 FROM pgherald.outbox AS o ORDER BY o.id LIMIT 1
    ) AS oldest_seconds,
    extract(epoch FROM keep)::pg_catalog.float8 AS keep_seconds
FROM pgherald.outbox_retention
