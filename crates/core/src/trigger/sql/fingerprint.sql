-- Returns one row for each existing table with schema $1 and name $2: its position in the arrays, from 1, and one number each for
-- its triggers, the structure of its rows, and everything else that a check reads. The row at position 0 is for the objects that
-- all tables share.
--
-- The numbers are computed from the versions of catalog rows. DDL writes new versions, so a number differs if anything was altered
-- meanwhile, even if it was altered back.
--
-- pg_class is left out, because TRUNCATE and VACUUM FULL also write it, and both leave the structure of rows unchanged. ALTER TABLE
-- writes pg_attribute if it changes values, or adds and drops columns. A rename writes the table's own row of pg_type.
WITH RECURSIVE asked AS (
    -- Each table is looked up on its own. A join by name may try every table of that name, in any schema.
    SELECT a.place, (
        SELECT c.oid FROM pg_catalog.pg_class AS c
        WHERE c.relname OPERATOR(pg_catalog.=) a.name AND c.relnamespace OPERATOR(pg_catalog.=) n.oid
    ) AS oid
    FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) WITH ORDINALITY AS a (schema, name, place)
    LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname OPERATOR(pg_catalog.=) a.schema
), member AS (
    -- The table, its partitions and children, each with the version of its row in pg_inherits.
    SELECT a.place, a.oid, NULL::pg_catalog.text AS version FROM asked AS a
    UNION
    SELECT m.place, i.inhrelid, i.xmin::pg_catalog.text
    FROM member AS m JOIN pg_catalog.pg_inherits AS i ON i.inhparent OPERATOR(pg_catalog.=) m.oid
), part AS (
    -- These tables and the types of their columns, except types that come with the server. Includes the parts of arrays, domains,
    -- ranges and composite types.
    SELECT m.place, 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid AS class, m.oid FROM member AS m
    UNION
    SELECT p.place, x.class, x.oid
    FROM part AS p
    CROSS JOIN LATERAL (
        SELECT d.refclassid AS class, d.refobjid AS oid
        FROM pg_catalog.pg_depend AS d
        WHERE d.classid OPERATOR(pg_catalog.=) p.class AND d.objid OPERATOR(pg_catalog.=) p.oid
            AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass
        UNION ALL
        SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, y.typrelid
        FROM pg_catalog.pg_type AS y
        WHERE p.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass
            AND y.oid OPERATOR(pg_catalog.=) p.oid AND y.typrelid OPERATOR(pg_catalog.<>) 0
    ) AS x
), trigger AS (
    SELECT m.place, t.oid, t.xmin AS version, f.oid AS function, f.xmin AS function_version
    FROM member AS m
    JOIN pg_catalog.pg_trigger AS t ON t.tgrelid OPERATOR(pg_catalog.=) m.oid
    JOIN pg_catalog.pg_proc AS f ON f.oid OPERATOR(pg_catalog.=) t.tgfoid
    JOIN pg_catalog.pg_namespace AS h ON h.oid OPERATOR(pg_catalog.=) f.pronamespace
    WHERE h.nspname OPERATOR(pg_catalog.=) 'pgherald'
), version AS (
    SELECT p.place, 'rows' AS of, pg_catalog.concat_ws(':', 'column', a.attrelid, a.attnum, a.xmin) AS content
    FROM part AS p
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid OPERATOR(pg_catalog.=) p.oid
    WHERE p.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass AND a.attnum OPERATOR(pg_catalog.>) 0
    UNION ALL
    SELECT p.place, 'rows', pg_catalog.concat_ws(':', 'label', e.oid, e.xmin)
    FROM part AS p
    JOIN pg_catalog.pg_enum AS e ON e.enumtypid OPERATOR(pg_catalog.=) p.oid
    WHERE p.class OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass
    UNION ALL
    SELECT m.place, 'rows', pg_catalog.concat_ws(':', 'table', m.oid, m.version, y.xmin)
    FROM member AS m
    JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) m.oid
    JOIN pg_catalog.pg_type AS y ON y.oid OPERATOR(pg_catalog.=) c.reltype
    UNION ALL
    SELECT t.place, 'triggers', pg_catalog.concat_ws(':', t.oid, t.version, t.function, t.function_version)
    FROM trigger AS t
    UNION ALL
    SELECT DISTINCT t.place, 'rest', pg_catalog.concat_ws(':', 'comment', d.objoid, d.xmin)
    FROM trigger AS t
    JOIN pg_catalog.pg_description AS d ON d.objoid OPERATOR(pg_catalog.=) t.function
        AND d.classoid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
    UNION ALL
    SELECT a.place, 'rest', pg_catalog.concat_ws(':', 'key', i.indexrelid, i.xmin)
    FROM asked AS a
    JOIN pg_catalog.pg_index AS i ON i.indrelid OPERATOR(pg_catalog.=) a.oid AND i.indisprimary
    UNION ALL
    -- The objects that all tables share.
    SELECT 0, 'rest', pg_catalog.concat_ws(':', 'shared', h.oid, h.xmin, o.oid, o.xmin)
    FROM pg_catalog.pg_namespace AS h
    LEFT JOIN LATERAL (
        SELECT c.oid, NULL::pg_catalog.xid AS xmin FROM pg_catalog.pg_class AS c
        WHERE c.relnamespace OPERATOR(pg_catalog.=) h.oid AND c.relname OPERATOR(pg_catalog.=) 'outbox'
        UNION ALL
        SELECT f.oid, f.xmin FROM pg_catalog.pg_proc AS f
        WHERE f.pronamespace OPERATOR(pg_catalog.=) h.oid
            AND f.proname OPERATOR(pg_catalog.=) ANY (ARRAY['notify_rows', 'rows_query']::pg_catalog.name[])
    ) AS o ON true
    WHERE h.nspname OPERATOR(pg_catalog.=) 'pgherald'
)
-- The hashes are added up, because a sum does not depend on the order.
SELECT
    v.place,
    coalesce(pg_catalog.sum(v.hash) FILTER (WHERE v.of OPERATOR(pg_catalog.=) 'triggers'), 0)::pg_catalog.text,
    coalesce(pg_catalog.sum(v.hash) FILTER (WHERE v.of OPERATOR(pg_catalog.=) 'rows'), 0)::pg_catalog.text,
    coalesce(pg_catalog.sum(v.hash) FILTER (WHERE v.of OPERATOR(pg_catalog.=) 'rest'), 0)::pg_catalog.text
FROM (SELECT w.place, w.of, pg_catalog.hashtextextended(w.content, 0) AS hash FROM version AS w) AS v
GROUP BY v.place
