-- The functions that watch table $1.$2, itself or as a part of another one; and whether this role may put triggers on it
-- and all that inherits from it. No row if it is none.
WITH RECURSIVE it AS (
    SELECT c.oid
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
    WHERE n.nspname OPERATOR(pg_catalog.=) $1 AND c.relname OPERATOR(pg_catalog.=) $2
        AND c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p']::pg_catalog."char"[])
), above AS (
    SELECT it.oid FROM it
    UNION
    SELECT i.inhparent FROM above AS a JOIN pg_catalog.pg_inherits AS i ON i.inhrelid OPERATOR(pg_catalog.=) a.oid
), below AS (
    SELECT it.oid FROM it
    UNION
    SELECT i.inhrelid FROM below AS b JOIN pg_catalog.pg_inherits AS i ON i.inhparent OPERATOR(pg_catalog.=) b.oid
)
SELECT ARRAY(
        SELECT DISTINCT 'pgherald.' OPERATOR(pg_catalog.||) p.proname::pg_catalog.text
        FROM above AS a
        JOIN pg_catalog.pg_trigger AS t ON t.tgrelid OPERATOR(pg_catalog.=) a.oid
        JOIN pg_catalog.pg_proc AS p ON p.oid OPERATOR(pg_catalog.=) t.tgfoid
        JOIN pg_catalog.pg_namespace AS s ON s.oid OPERATOR(pg_catalog.=) p.pronamespace
        WHERE s.nspname OPERATOR(pg_catalog.=) 'pgherald' AND t.tgname OPERATOR(pg_catalog.~) '^pgherald_notify_[a-z]+$'
    ),
    (
        SELECT pg_catalog.bool_and(
            pg_catalog.has_table_privilege(c.oid, 'TRIGGER') AND pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE')
        )
        FROM below AS b JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) b.oid
    )
FROM it
