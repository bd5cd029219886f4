-- The columns of the relations $1: relation, name, type with domains resolved, place in the primary key from 1, whether it is computed on
-- reading only, the declared type, whether its values have a fixed length, whether their text depends on the search_path,
-- whether values that are equal may have different texts, and the type, or the domain, as to_regtype reads it.
WITH RECURSIVE typed AS (
    SELECT a.attrelid, a.attnum, a.attname, a.attgenerated, a.atttypid, a.atttypmod, a.attcollation,
        t.typname, t.typnamespace, t.typtype, t.typbasetype, t.typlen,
        -- An int2vector counts from 0. What an index only includes comes behind its key.
        pg_catalog.array_position(i.indkey::pg_catalog.int2[], a.attnum) OPERATOR(pg_catalog.+) 1 AS place,
        i.indnkeyatts
    FROM pg_catalog.unnest($1) AS r (oid)
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid OPERATOR(pg_catalog.=) r.oid
    JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) a.atttypid
    LEFT JOIN pg_catalog.pg_index AS i ON i.indrelid OPERATOR(pg_catalog.=) a.attrelid AND i.indisprimary
    WHERE a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
    UNION ALL
    SELECT d.attrelid, d.attnum, d.attname, d.attgenerated, d.atttypid, d.atttypmod, d.attcollation,
        t.typname, t.typnamespace, t.typtype, t.typbasetype, t.typlen, d.place, d.indnkeyatts
    FROM typed AS d
    JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) d.typbasetype
    WHERE d.typtype OPERATOR(pg_catalog.=) 'd'
), part (atttypid, atttypmod, attcollation, oid, typmod, collation_oid) AS (
    -- What each declared type is made of: domains, elements, bounds and fields, of every level. Once for each type. From
    -- arrays, lest the planner expects so many rows that it has all of this compiled.
    SELECT d.oid, d.typmod, d.collation_oid, d.oid, d.typmod, d.collation_oid
    FROM ROWS FROM (
        pg_catalog.unnest(ARRAY(SELECT atttypid FROM typed)),
        pg_catalog.unnest(ARRAY(SELECT atttypmod FROM typed)),
        pg_catalog.unnest(ARRAY(SELECT attcollation FROM typed))
    ) AS d (oid, typmod, collation_oid)
    UNION
    SELECT p.atttypid, p.atttypmod, p.attcollation, n.oid, n.typmod, n.collation_oid
    FROM part AS p
    JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) p.oid
    CROSS JOIN LATERAL (
        SELECT t.typbasetype, greatest(p.typmod, t.typtypmod), p.collation_oid
        WHERE t.typtype OPERATOR(pg_catalog.=) 'd'
        UNION ALL
        SELECT t.typelem, p.typmod, p.collation_oid
        WHERE t.typelem OPERATOR(pg_catalog.<>) 0::pg_catalog.oid AND t.typlen OPERATOR(pg_catalog.<) 0
        UNION ALL
        SELECT r.rngsubtype, -1, r.rngcollation FROM pg_catalog.pg_range AS r
        -- PostgreSQL 13 has no multiranges, nor a column that names them.
        WHERE r.rngtypid OPERATOR(pg_catalog.=) t.oid OR t.typtype OPERATOR(pg_catalog.=) 'm'
            AND (pg_catalog.to_jsonb(r) OPERATOR(pg_catalog.->>) 'rngmultitypid')::pg_catalog.oid OPERATOR(pg_catalog.=) t.oid
        UNION ALL
        SELECT f.atttypid, f.atttypmod, f.attcollation FROM pg_catalog.pg_attribute AS f
        WHERE f.attrelid OPERATOR(pg_catalog.=) t.typrelid AND t.typtype OPERATOR(pg_catalog.=) 'c'
            AND f.attnum OPERATOR(pg_catalog.>) 0 AND NOT f.attisdropped
    ) AS n (oid, typmod, collation_oid)
), judged AS (
    SELECT p.atttypid, p.atttypmod, p.attcollation,
        -- Names of objects come with their schema unless the search_path has it. The others listed depend on settings that
        -- the functions pin anyway.
        pg_catalog.bool_or(
            t.typtype OPERATOR(pg_catalog.=) 'b' AND f.provolatile OPERATOR(pg_catalog.<>) 'i'
            AND f.proname OPERATOR(pg_catalog.<>) 'array_out'
            AND NOT (
                t.typnamespace OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace
                AND t.typname OPERATOR(pg_catalog.=) ANY (
                    ARRAY['aclitem', 'date', 'interval', 'money', 'timestamp', 'timestamptz']::pg_catalog.name[]
                )
            )
        ) AS names_objects,
        pg_catalog.bool_or(
            -- The server knows of which types equal values are the same bytes (support function 4 of a B-tree), and so does
            -- not store them twice in an index. Not before it was corrected for interval; a numeric of a fixed scale, and a
            -- char of a fixed length, has one text.
            t.typtype OPERATOR(pg_catalog.=) 'b' AND t.oid OPERATOR(pg_catalog.=) ANY (
                ARRAY(
                    SELECT o.opcintype FROM pg_catalog.pg_opclass AS o
                    JOIN pg_catalog.pg_am AS m ON m.oid OPERATOR(pg_catalog.=) o.opcmethod
                    LEFT JOIN pg_catalog.pg_amproc AS s ON s.amprocfamily OPERATOR(pg_catalog.=) o.opcfamily
                        AND s.amprocnum OPERATOR(pg_catalog.=) 4
                        AND s.amproclefttype OPERATOR(pg_catalog.=) o.opcintype
                        AND s.amprocrighttype OPERATOR(pg_catalog.=) o.opcintype
                    WHERE m.amname OPERATOR(pg_catalog.=) 'btree' AND o.opcdefault AND s.oid IS NULL
                )
            ) AND NOT (t.oid OPERATOR(pg_catalog.=) 'pg_catalog.numeric'::pg_catalog.regtype AND p.typmod OPERATOR(pg_catalog.>=) 0)
            OR t.oid OPERATOR(pg_catalog.=) 'pg_catalog.interval'::pg_catalog.regtype
            OR t.oid OPERATOR(pg_catalog.=) 'pg_catalog.bpchar'::pg_catalog.regtype AND p.typmod OPERATOR(pg_catalog.<) 0
            OR p.collation_oid OPERATOR(pg_catalog.=) ANY (
                ARRAY(SELECT l.oid FROM pg_catalog.pg_collation AS l WHERE NOT l.collisdeterministic)
            )
        ) AS is_ambiguous
    FROM part AS p
    JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) p.oid
    JOIN pg_catalog.pg_proc AS f ON f.oid OPERATOR(pg_catalog.=) t.typoutput::pg_catalog.oid
    GROUP BY p.atttypid, p.atttypmod, p.attcollation
)
SELECT
    c.attrelid,
    c.attname::pg_catalog.text,
    CASE
        WHEN c.typtype OPERATOR(pg_catalog.=) 'e' THEN 'enum'
        WHEN c.typnamespace OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace THEN c.typname::pg_catalog.text
        ELSE ''
    END,
    CASE WHEN c.place OPERATOR(pg_catalog.<=) c.indnkeyatts THEN c.place END,
    c.attgenerated OPERATOR(pg_catalog.=) 'v',
    pg_catalog.format_type(c.atttypid, c.atttypmod),
    c.typlen OPERATOR(pg_catalog.>) 0,
    j.names_objects,
    j.is_ambiguous,
    (
        SELECT pg_catalog.format('%I.%I', n.nspname, d.typname)
        FROM pg_catalog.pg_type AS d
        JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) d.typnamespace
        WHERE d.oid OPERATOR(pg_catalog.=) c.atttypid
    )
FROM typed AS c
JOIN judged AS j ON j.atttypid OPERATOR(pg_catalog.=) c.atttypid AND j.atttypmod OPERATOR(pg_catalog.=) c.atttypmod
    AND j.attcollation OPERATOR(pg_catalog.=) c.attcollation
WHERE c.typtype OPERATOR(pg_catalog.<>) 'd'
ORDER BY c.attrelid, c.attnum
