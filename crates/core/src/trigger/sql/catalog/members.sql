-- Relation $1 and all that inherit from it: partitions of every level, and children.
WITH RECURSIVE member AS (
    SELECT $1::pg_catalog.oid AS oid
    UNION
    SELECT i.inhrelid FROM member AS m JOIN pg_catalog.pg_inherits AS i ON i.inhparent OPERATOR(pg_catalog.=) m.oid
)
SELECT c.oid OPERATOR(pg_catalog.=) $1, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, c.relkind::pg_catalog.text
FROM member AS m
JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) m.oid
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE NOT pg_catalog.pg_is_other_temp_schema(n.oid)
ORDER BY c.oid OPERATOR(pg_catalog.<>) $1, 2, 3
