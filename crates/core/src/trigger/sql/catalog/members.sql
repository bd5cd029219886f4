-- Relation $1 and all that inherit from it: partitions of every level, and children.
WITH RECURSIVE member AS (
    SELECT $1::oid AS oid
    UNION
    SELECT i.inhrelid FROM member AS m JOIN pg_catalog.pg_inherits AS i ON i.inhparent = m.oid
)
SELECT c.oid = $1, n.nspname::text, c.relname::text, c.relkind::text
FROM member AS m
JOIN pg_catalog.pg_class AS c ON c.oid = m.oid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE NOT pg_catalog.pg_is_other_temp_schema(n.oid)
ORDER BY c.oid <> $1, 2, 3
