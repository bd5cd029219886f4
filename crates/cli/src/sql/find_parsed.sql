-- Two queries, because one condition with OR would compare each name with each table.
WITH relation AS (
    SELECT c.oid, n.nspname::pg_catalog.text AS schema, c.relname::pg_catalog.text AS name
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
), typed AS (
    SELECT a.schema, a.name, a.place
    FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[]))
        WITH ORDINALITY AS a (schema, name, place)
)
SELECT t.place, r.schema, r.name
FROM typed AS t
JOIN relation AS r ON r.schema OPERATOR(pg_catalog.=) t.schema AND r.name OPERATOR(pg_catalog.=) t.name
UNION ALL
SELECT t.place, r.schema, r.name
FROM typed AS t
JOIN relation AS r ON r.name OPERATOR(pg_catalog.=) t.name
WHERE t.schema IS NULL AND pg_catalog.pg_table_is_visible(r.oid)
