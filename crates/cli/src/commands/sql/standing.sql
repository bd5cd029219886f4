-- The functions that watch each of the tables of schemas $1 and names $2, itself or as a part of another one; and, in a row of
-- its own without a function, whether this role may put triggers on it and all that inherits from it. In front stands the place
-- of the table in the arrays, from 1. No row if it is none.
WITH RECURSIVE it AS (
    -- Each is looked up by itself. A join by name may try every table of that name, in whatever schema.
    SELECT a.place, (
        SELECT c.oid FROM pg_catalog.pg_class AS c
        WHERE c.relname OPERATOR(pg_catalog.=) a.name AND c.relnamespace OPERATOR(pg_catalog.=) (
            SELECT n.oid FROM pg_catalog.pg_namespace AS n WHERE n.nspname OPERATOR(pg_catalog.=) a.schema
        ) AND c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p']::pg_catalog."char"[])
    ) AS oid
    FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) WITH ORDINALITY AS a (schema, name, place)
), above AS (
    SELECT it.place, it.oid FROM it
    UNION
    SELECT a.place, i.inhparent
    FROM above AS a JOIN pg_catalog.pg_inherits AS i ON i.inhrelid OPERATOR(pg_catalog.=) a.oid
), below AS (
    SELECT it.place, it.oid FROM it
    UNION
    SELECT b.place, i.inhrelid
    FROM below AS b JOIN pg_catalog.pg_inherits AS i ON i.inhparent OPERATOR(pg_catalog.=) b.oid
)
SELECT DISTINCT a.place, 'pgherald.' OPERATOR(pg_catalog.||) p.proname::pg_catalog.text, NULL::pg_catalog.bool
FROM above AS a
JOIN pg_catalog.pg_trigger AS t ON t.tgrelid OPERATOR(pg_catalog.=) a.oid
JOIN pg_catalog.pg_proc AS p ON p.oid OPERATOR(pg_catalog.=) t.tgfoid
JOIN pg_catalog.pg_namespace AS s ON s.oid OPERATOR(pg_catalog.=) p.pronamespace
WHERE s.nspname OPERATOR(pg_catalog.=) 'pgherald' AND t.tgname OPERATOR(pg_catalog.~) '^pgherald_notify_[a-z]+$'
UNION ALL
SELECT b.place, NULL, pg_catalog.bool_and(
    pg_catalog.has_table_privilege(c.oid, 'TRIGGER') AND pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE')
)
FROM below AS b
JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) b.oid
GROUP BY b.place
