-- The comment of the outbox. It is read without obj_description, which before PostgreSQL 14 looks its operators up on the
-- search_path.
SELECT (
    SELECT d.description FROM pg_catalog.pg_description AS d
    WHERE d.objoid OPERATOR(pg_catalog.=) c.oid AND d.classoid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
        AND d.objsubid OPERATOR(pg_catalog.=) 0
)
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE n.nspname OPERATOR(pg_catalog.=) 'pgherald' AND c.relname OPERATOR(pg_catalog.=) 'outbox'
