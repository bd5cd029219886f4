-- One row for each table, in the order of the arrays: the number of the relation of schema $1 and name $2, if it exists, and
-- the name of the function of the table, which is written $3. That is within the 63 bytes of an identifier. Not md5, which
-- servers in FIPS mode refuse.
-- Each relation is looked up by itself. A join by name may try every table of that name, in whatever schema.
SELECT
    (
        SELECT c.oid FROM pg_catalog.pg_class AS c
        WHERE c.relname OPERATOR(pg_catalog.=) a.name AND c.relnamespace OPERATOR(pg_catalog.=) (
            SELECT n.oid FROM pg_catalog.pg_namespace AS n WHERE n.nspname OPERATOR(pg_catalog.=) a.schema
        )
    ),
    'notify_' OPERATOR(pg_catalog.||) pg_catalog.left(
        pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(a.written, 'UTF8')), 'hex'), 16
    )
FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3))
    WITH ORDINALITY AS a (schema, name, written, place)
ORDER BY a.place
