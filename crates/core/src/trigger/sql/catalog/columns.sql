-- The columns of relation $1: name, type with domains resolved, place in the primary key from 1,
-- and whether it is computed on reading only.
WITH RECURSIVE typed AS (
    SELECT a.attnum, a.attname, a.attgenerated, t.typname, t.typnamespace, t.typtype, t.typbasetype
    FROM pg_catalog.pg_attribute AS a
    JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) a.atttypid
    WHERE a.attrelid OPERATOR(pg_catalog.=) $1 AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
    UNION ALL
    SELECT d.attnum, d.attname, d.attgenerated, t.typname, t.typnamespace, t.typtype, t.typbasetype
    FROM typed AS d
    JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) d.typbasetype
    WHERE d.typtype OPERATOR(pg_catalog.=) 'd'
)
SELECT
    c.attname::pg_catalog.text,
    CASE
        WHEN c.typtype OPERATOR(pg_catalog.=) 'e' THEN 'enum'
        WHEN c.typnamespace OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace THEN c.typname::pg_catalog.text
        ELSE ''
    END,
    (
        SELECT k.place::pg_catalog.int4
        FROM pg_catalog.pg_index AS i
        CROSS JOIN LATERAL pg_catalog.unnest(i.indkey::pg_catalog.int2[]) WITH ORDINALITY AS k (attnum, place)
        WHERE i.indrelid OPERATOR(pg_catalog.=) $1 AND i.indisprimary AND k.place OPERATOR(pg_catalog.<=) i.indnkeyatts AND k.attnum OPERATOR(pg_catalog.=) c.attnum
    ),
    c.attgenerated OPERATOR(pg_catalog.=) 'v'
FROM typed AS c
WHERE c.typtype OPERATOR(pg_catalog.<>) 'd'
ORDER BY c.attnum
