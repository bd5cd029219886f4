-- The size of the outbox with its indexes, and its limit, in bytes.
SELECT (
        SELECT sum(pg_total_relation_size(i.inhrelid))::bigint
        FROM pg_catalog.pg_inherits AS i WHERE i.inhparent = 'pgherald.outbox'::regclass
    ), max_bytes
FROM pgherald.outbox_retention
