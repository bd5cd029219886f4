-- Whether all rows exist that readers and trimming rely on, and the relations that outbox_relation describes.
SELECT (SELECT pg_catalog.count(*) FROM pgherald.outbox_retention) OPERATOR(pg_catalog.=) 1
        AND (SELECT pg_catalog.count(*) FROM pgherald.outbox_part) OPERATOR(pg_catalog.=) 4,
    ARRAY(SELECT id FROM pgherald.outbox_relation)
