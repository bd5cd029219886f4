-- Two joins, so that the server can use hash joins. One condition with OR would compare each text with each table.
WITH relation AS (
    SELECT c.oid, n.nspname::pg_catalog.text AS schema, c.relname::pg_catalog.text AS name
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
    WHERE c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p', 'v', 'm', 'f']::pg_catalog."char"[])
), typed AS (
    SELECT a.text, a.place FROM pg_catalog.unnest($1::pg_catalog.text[]) WITH ORDINALITY AS a (text, place)
)
SELECT t.place, r.schema, r.name
FROM typed AS t
JOIN relation AS r ON r.schema OPERATOR(pg_catalog.||) '.' OPERATOR(pg_catalog.||) r.name OPERATOR(pg_catalog.=) t.text
UNION
SELECT t.place, r.schema, r.name
FROM typed AS t
JOIN relation AS r ON r.name OPERATOR(pg_catalog.=) t.text
WHERE pg_catalog.pg_table_is_visible(r.oid)
ORDER BY 1, 2, 3
