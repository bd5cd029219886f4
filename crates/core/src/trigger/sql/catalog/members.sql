-- Each of the relations $1 and all that inherit from it: partitions of every level, and children. First the number of the
-- relation among $1.
WITH RECURSIVE member AS (
    SELECT r.oid AS root, r.oid FROM pg_catalog.unnest($1) AS r (oid)
    UNION
    SELECT m.root, i.inhrelid
    FROM member AS m JOIN pg_catalog.pg_inherits AS i ON i.inhparent OPERATOR(pg_catalog.=) m.oid
)
SELECT
    m.root, c.oid OPERATOR(pg_catalog.=) m.root,
    n.nspname::pg_catalog.text, c.relname::pg_catalog.text, c.relkind::pg_catalog.text
FROM member AS m
JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) m.oid
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE NOT pg_catalog.pg_is_other_temp_schema(n.oid)
ORDER BY m.root, c.oid OPERATOR(pg_catalog.<>) m.root, 3, 4
