-- The columns of relation $1: name, type with domains resolved, place in the primary key from 1,
-- whether it is computed on reading only, and whether it cannot be null.
WITH RECURSIVE typed AS (
    SELECT a.attnum, a.attname, a.attgenerated, a.attnotnull, t.typname, t.typnamespace, t.typtype, t.typbasetype
    FROM pg_catalog.pg_attribute AS a
    JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
    WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT d.attnum, d.attname, d.attgenerated, d.attnotnull, t.typname, t.typnamespace, t.typtype, t.typbasetype
    FROM typed AS d
    JOIN pg_catalog.pg_type AS t ON t.oid = d.typbasetype
    WHERE d.typtype = 'd'
)
SELECT
    c.attname::text,
    CASE
        WHEN c.typtype = 'e' THEN 'enum'
        WHEN c.typnamespace = 'pg_catalog'::pg_catalog.regnamespace THEN c.typname::text
        ELSE ''
    END,
    (
        SELECT k.place::int4
        FROM pg_catalog.pg_index AS i
        CROSS JOIN LATERAL pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
        WHERE i.indrelid = $1 AND i.indisprimary AND k.place <= i.indnkeyatts AND k.attnum = c.attnum
    ),
    c.attgenerated = 'v',
    c.attnotnull
FROM typed AS c
WHERE c.typtype <> 'd'
ORDER BY c.attnum
