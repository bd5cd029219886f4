-- How large the outbox is, how old its oldest row, and what is to be kept.
SELECT
    (SELECT sum(pg_total_relation_size(inhrelid))::bigint FROM pg_catalog.pg_inherits
        WHERE inhparent = 'pgherald.outbox'::regclass),
    extract(epoch FROM clock_timestamp() - (SELECT sent_at FROM pgherald.outbox ORDER BY id LIMIT 1))::float8,
    extract(epoch FROM keep)::float8, max_bytes
FROM pgherald.outbox_retention
