-- The columns of the primary keys of the tables of schemas $1 and names $2, in their order; each behind the place of its table
-- in the arrays, from 1.
SELECT a.place, k.attname::pg_catalog.text
FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) WITH ORDINALITY AS a (schema, name, place)
JOIN pg_catalog.pg_index AS i ON i.indisprimary AND i.indrelid OPERATOR(pg_catalog.=) (
    -- Each is looked up by itself. A join by name may try every table of that name, in whatever schema.
    SELECT c.oid FROM pg_catalog.pg_class AS c
    WHERE c.relname OPERATOR(pg_catalog.=) a.name AND c.relnamespace OPERATOR(pg_catalog.=) (
        SELECT n.oid FROM pg_catalog.pg_namespace AS n WHERE n.nspname OPERATOR(pg_catalog.=) a.schema
    )
)
JOIN pg_catalog.pg_attribute AS k ON k.attrelid OPERATOR(pg_catalog.=) i.indrelid
    AND k.attnum OPERATOR(pg_catalog.=) ANY (i.indkey::pg_catalog.int2[])
ORDER BY a.place, pg_catalog.array_position(i.indkey::pg_catalog.int2[], k.attnum)
