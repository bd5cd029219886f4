-- Reads the objects of pgherald in the database, and the tables with schemas $1 and names $2; if $3, also every table that triggers
-- of pgherald watch. Returns one row for each object: its kind, and a JSON object of its properties. It is one statement, so all
-- objects are read at the same moment. Nothing in it except `asked` is looked up once for each table.
WITH RECURSIVE home AS (
    SELECT n.oid, n.nspowner FROM pg_catalog.pg_namespace AS n WHERE n.nspname OPERATOR(pg_catalog.=) 'pgherald'
), asked AS (
    -- Each table is looked up on its own. A join by name may try every table of that name, in any schema.
    SELECT a.name, (
        SELECT c.oid FROM pg_catalog.pg_class AS c
        WHERE c.relname OPERATOR(pg_catalog.=) a.name AND c.relnamespace OPERATOR(pg_catalog.=) n.oid
    ) AS oid
    FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS a (schema, name)
    LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname OPERATOR(pg_catalog.=) a.schema
), made AS MATERIALIZED (
    -- The functions of all tables.
    SELECT p.oid, p.proname
    FROM pg_catalog.pg_proc AS p JOIN home AS h ON h.oid OPERATOR(pg_catalog.=) p.pronamespace
    WHERE p.proname OPERATOR(pg_catalog.~) '^notify_[0-9a-f]{16}$' AND p.pronargs OPERATOR(pg_catalog.=) 0
), call AS MATERIALIZED (
    -- The triggers that call them. The triggers of the watched table itself have no suffix. Those of its partitions and children do.
    SELECT t.oid, t.tgfoid, t.tgrelid, t.tgname OPERATOR(pg_catalog.~) '^pgherald_notify_[a-z]+(_row)?$' AS is_root
    FROM pg_catalog.pg_trigger AS t JOIN made AS m ON m.oid OPERATOR(pg_catalog.=) t.tgfoid
), used AS MATERIALIZED (
    -- The functions of these tables: those that their own triggers call, and those that no table's own triggers call, because a
    -- dropped table may have been created again. IS TRUE and IS NOT TRUE make the server hash lists that it estimates to be short.
    SELECT m.oid FROM made AS m
    WHERE $3 OR (m.oid OPERATOR(pg_catalog.=) ANY (SELECT c.tgfoid FROM call AS c WHERE c.is_root)) IS NOT TRUE
        OR m.oid OPERATOR(pg_catalog.=) ANY (
            SELECT c.tgfoid FROM call AS c WHERE c.is_root AND (c.tgrelid OPERATOR(pg_catalog.=) ANY (SELECT a.oid FROM asked AS a)) IS TRUE
        )
), root AS MATERIALIZED (
    SELECT a.oid FROM asked AS a WHERE a.oid IS NOT NULL
    UNION
    SELECT c.tgrelid FROM call AS c WHERE $3 AND c.is_root
), member AS (
    -- The tables, and their partitions and children of every level.
    SELECT r.oid AS root, r.oid FROM root AS r
    UNION
    SELECT m.root, i.inhrelid
    FROM member AS m JOIN pg_catalog.pg_inherits AS i ON i.inhparent OPERATOR(pg_catalog.=) m.oid
), col AS MATERIALIZED (
    SELECT a.attrelid, a.attnum, a.attname, a.attgenerated, a.atttypid, a.atttypmod, a.attcollation,
        -- An int2vector counts from 0. INCLUDE columns of an index come after its key.
        pg_catalog.array_position(i.indkey::pg_catalog.int2[], a.attnum) OPERATOR(pg_catalog.+) 1 AS place,
        i.indnkeyatts
    FROM root AS r
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid OPERATOR(pg_catalog.=) r.oid
    LEFT JOIN pg_catalog.pg_index AS i ON i.indrelid OPERATOR(pg_catalog.=) a.attrelid AND i.indisprimary
    WHERE a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
), base AS (
    -- Each declared type, and the types behind it if it is a domain. The types come from an array, because the planner would
    -- otherwise expect so many rows that it compiles the query.
    SELECT d.oid AS atttypid, d.oid FROM pg_catalog.unnest(ARRAY(SELECT DISTINCT atttypid FROM col)) AS d (oid)
    UNION ALL
    SELECT b.atttypid, t.typbasetype
    FROM base AS b
    JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) b.oid AND t.typtype OPERATOR(pg_catalog.=) 'd'
), kind AS MATERIALIZED (
    SELECT DISTINCT c.atttypid, c.atttypmod, c.attcollation FROM col AS c
), part (atttypid, atttypmod, attcollation, oid, typmod, collation_oid) AS (
    -- The parts of each declared type: domains, elements, bounds and fields, of every level. Once for each type, and from arrays for
    -- the same reason.
    SELECT d.oid, d.typmod, d.collation_oid, d.oid, d.typmod, d.collation_oid
    FROM ROWS FROM (
        pg_catalog.unnest(ARRAY(SELECT atttypid FROM kind)),
        pg_catalog.unnest(ARRAY(SELECT atttypmod FROM kind)),
        pg_catalog.unnest(ARRAY(SELECT attcollation FROM kind))
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
        -- PostgreSQL 13 has no multiranges, and pg_range has no column for them.
        WHERE r.rngtypid OPERATOR(pg_catalog.=) t.oid OR t.typtype OPERATOR(pg_catalog.=) 'm'
            AND (pg_catalog.to_jsonb(r) OPERATOR(pg_catalog.->>) 'rngmultitypid')::pg_catalog.oid OPERATOR(pg_catalog.=) t.oid
        UNION ALL
        SELECT f.atttypid, f.atttypmod, f.attcollation FROM pg_catalog.pg_attribute AS f
        WHERE f.attrelid OPERATOR(pg_catalog.=) t.typrelid AND t.typtype OPERATOR(pg_catalog.=) 'c'
            AND f.attnum OPERATOR(pg_catalog.>) 0 AND NOT f.attisdropped
    ) AS n (oid, typmod, collation_oid)
), judged AS (
    SELECT p.atttypid, p.atttypmod, p.attcollation,
        -- The text of a name contains the schema unless the search_path does. The excluded types depend on settings that the
        -- functions pin anyway.
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
            -- The server marks types whose equal values have the same bytes (support function 4 of a B-tree), because an index
            -- stores such values only once. For interval, this mark was wrong in early versions. A numeric with a fixed scale, and
            -- a char with a fixed length, has one text.
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
), type AS MATERIALIZED (
    SELECT b.atttypid,
        CASE
            WHEN t.typtype OPERATOR(pg_catalog.=) 'e' THEN 'enum'
            WHEN t.typnamespace OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace THEN t.typname::pg_catalog.text
            ELSE ''
        END AS type_name,
        t.typlen OPERATOR(pg_catalog.>) 0 AS is_short,
        (
            SELECT pg_catalog.format('%I.%I', n.nspname, d.typname)
            FROM pg_catalog.pg_type AS d
            JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) d.typnamespace
            WHERE d.oid OPERATOR(pg_catalog.=) b.atttypid
        ) AS exact_type
    FROM base AS b
    JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) b.oid AND t.typtype OPERATOR(pg_catalog.<>) 'd'
)
SELECT 'server', pg_catalog.row_to_json(x)::pg_catalog.text
FROM (
    SELECT
        pg_catalog.current_setting('server_version_num')::pg_catalog.int4 AS version,
        h.oid IS NOT NULL AS has_schema,
        o.rolname AS owner,
        o.rolsuper OR o.rolname OPERATOR(pg_catalog.=) current_user AS is_trusted
    FROM (VALUES (1)) AS one
    LEFT JOIN home AS h ON true
    LEFT JOIN pg_catalog.pg_roles AS o ON o.oid OPERATOR(pg_catalog.=) h.nspowner
) AS x
UNION ALL
-- The catalog shows whether this role may read the rows that the outbox relies on. to_regclass would fail without a right on the
-- schema. Comments are read without obj_description, which before PostgreSQL 14 looks its operators up on the search_path.
SELECT 'outbox', pg_catalog.row_to_json(x)::pg_catalog.text
FROM (
    SELECT
        (
            SELECT d.description FROM pg_catalog.pg_description AS d
            WHERE d.objoid OPERATOR(pg_catalog.=) c.oid AND d.classoid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
                AND d.objsubid OPERATOR(pg_catalog.=) 0
        ) AS comment,
        o.rolname AS owner,
        o.rolsuper OR o.rolname OPERATOR(pg_catalog.=) current_user AS is_trusted,
        (
            SELECT pg_catalog.count(*) OPERATOR(pg_catalog.=) 3 AND coalesce(
                pg_catalog.bool_and(
                    pg_catalog.has_schema_privilege(h.oid, 'USAGE') AND pg_catalog.has_table_privilege(r.oid, 'SELECT')
                ),
                false
            )
            FROM pg_catalog.pg_class AS r
            WHERE r.relnamespace OPERATOR(pg_catalog.=) h.oid AND r.relkind OPERATOR(pg_catalog.=) 'r'
                AND r.relname OPERATOR(pg_catalog.=) ANY (
                    ARRAY['outbox_retention', 'outbox_part', 'outbox_relation']::pg_catalog.name[]
                )
        ) AS is_readable,
        coalesce((
            SELECT pg_catalog.has_schema_privilege(h.oid, 'USAGE') AND pg_catalog.has_table_privilege(r.oid, 'SELECT')
            FROM pg_catalog.pg_class AS r
            WHERE r.relnamespace OPERATOR(pg_catalog.=) h.oid AND r.relname OPERATOR(pg_catalog.=) 'consumer_requirement'
        ), false) AS has_readable_requirements
    FROM home AS h
    JOIN pg_catalog.pg_class AS c ON c.relnamespace OPERATOR(pg_catalog.=) h.oid AND c.relname OPERATOR(pg_catalog.=) 'outbox'
    JOIN pg_catalog.pg_roles AS o ON o.oid OPERATOR(pg_catalog.=) c.relowner
) AS x
UNION ALL
-- The functions of tables, the functions that all tables share, and the rights of each owner on the schema and the shared functions.
SELECT 'function', pg_catalog.row_to_json(x)::pg_catalog.text
FROM (
    SELECT
        p.proname AS name,
        (
            SELECT d.description FROM pg_catalog.pg_description AS d
            WHERE d.objoid OPERATOR(pg_catalog.=) p.oid AND d.classoid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
                AND d.objsubid OPERATOR(pg_catalog.=) 0
        ) AS comment,
        p.prosrc AS body,
        o.rolname AS owner,
        o.rolsuper OR o.rolname OPERATOR(pg_catalog.=) current_user AS is_trusted,
        pg_catalog.has_function_privilege(p.oid, 'EXECUTE') AND pg_catalog.has_schema_privilege(h.oid, 'USAGE') AS is_callable,
        p.prosecdef AS is_definer,
        coalesce(p.proconfig, '{}') AS settings,
        (h.nspowner OPERATOR(pg_catalog.=) o.oid OR s.rolsuper)
            AND (n.oid IS NULL OR n.proowner OPERATOR(pg_catalog.=) o.oid OR r.rolsuper) AS has_trusted_helper,
        n.oid IS NULL OR (
            pg_catalog.has_function_privilege(o.oid, n.oid, 'EXECUTE')
            AND pg_catalog.has_schema_privilege(o.oid, h.oid, 'USAGE')
        ) AS has_callable_helper
    FROM pg_catalog.pg_proc AS p
    JOIN home AS h ON h.oid OPERATOR(pg_catalog.=) p.pronamespace
    JOIN pg_catalog.pg_roles AS o ON o.oid OPERATOR(pg_catalog.=) p.proowner
    JOIN pg_catalog.pg_roles AS s ON s.oid OPERATOR(pg_catalog.=) h.nspowner
    LEFT JOIN pg_catalog.pg_proc AS n
        ON n.pronamespace OPERATOR(pg_catalog.=) h.oid AND n.proname OPERATOR(pg_catalog.=) 'notify_rows'
        AND pg_catalog.oidvectortypes(n.proargtypes) OPERATOR(pg_catalog.=) $4
    LEFT JOIN pg_catalog.pg_roles AS r ON r.oid OPERATOR(pg_catalog.=) n.proowner
    WHERE p.oid OPERATOR(pg_catalog.=) ANY (SELECT u.oid FROM used AS u)
        OR p.proname OPERATOR(pg_catalog.=) 'notify_rows' AND pg_catalog.oidvectortypes(p.proargtypes) OPERATOR(pg_catalog.=) $4
        OR p.proname OPERATOR(pg_catalog.=) 'rows_query' AND pg_catalog.oidvectortypes(p.proargtypes) OPERATOR(pg_catalog.=) $5
) AS x
UNION ALL
SELECT 'trigger', pg_catalog.row_to_json(x)::pg_catalog.text
FROM (
    SELECT
        n.nspname AS schema, c.relname AS table, g.tgrelid::pg_catalog.int8 AS relation, g.tgname AS name, m.proname AS function,
        k.is_root,
        g.tgenabled AS firing,
        g.tgtype AS events, g.tgnewtable AS new_table, g.tgoldtable AS old_table,
        g.tgqual IS NULL AND g.tgattr::pg_catalog.text OPERATOR(pg_catalog.=) '' AND g.tgnargs OPERATOR(pg_catalog.=) 0
            AS is_unconditional
    FROM call AS k
    JOIN made AS m ON m.oid OPERATOR(pg_catalog.=) k.tgfoid
    JOIN pg_catalog.pg_trigger AS g ON g.oid OPERATOR(pg_catalog.=) k.oid
    JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) g.tgrelid
    JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
    WHERE (k.tgfoid OPERATOR(pg_catalog.=) ANY (SELECT u.oid FROM used AS u)) IS TRUE
) AS x
UNION ALL
-- The names of functions that exist.
SELECT 'name', pg_catalog.to_json(m.proname)::pg_catalog.text FROM made AS m
UNION ALL
-- Each table with its partitions and children.
SELECT 'member', pg_catalog.row_to_json(x)::pg_catalog.text
FROM (
    SELECT
        m.root::pg_catalog.int8 AS root, c.oid OPERATOR(pg_catalog.=) m.root AS is_root,
        n.nspname AS schema, c.relname AS table, c.relkind AS kind,
        pg_catalog.has_table_privilege(c.oid, 'TRIGGER') AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AS may_have_triggers
    FROM member AS m
    JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) m.oid
    JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
    WHERE NOT pg_catalog.pg_is_other_temp_schema(n.oid)
) AS x
UNION ALL
-- The columns of each table, with the types behind their domains. A column of the primary key has its position in it, from 1.
SELECT 'column', pg_catalog.row_to_json(x)::pg_catalog.text
FROM (
    SELECT
        c.attrelid::pg_catalog.int8 AS root,
        c.attnum AS number, c.attname AS name,
        t.type_name,
        CASE WHEN c.place OPERATOR(pg_catalog.<=) c.indnkeyatts THEN c.place END AS key_place,
        c.attgenerated OPERATOR(pg_catalog.=) 'v' AS is_virtual,
        pg_catalog.format_type(c.atttypid, c.atttypmod) AS declared,
        t.is_short,
        j.names_objects,
        j.is_ambiguous,
        t.exact_type,
        c.atttypid::pg_catalog.int8 AS type_oid
    FROM col AS c
    JOIN judged AS j ON j.atttypid OPERATOR(pg_catalog.=) c.atttypid AND j.atttypmod OPERATOR(pg_catalog.=) c.atttypmod
        AND j.attcollation OPERATOR(pg_catalog.=) c.attcollation
    JOIN type AS t ON t.atttypid OPERATOR(pg_catalog.=) c.atttypid
) AS x
UNION ALL
-- The types of columns and of their parts, which decide how texts are read.
SELECT 'type', pg_catalog.row_to_json(x)::pg_catalog.text
FROM (
    SELECT
        t.oid::pg_catalog.int8 AS oid,
        -- Only superusers create types in this schema.
        CASE
            WHEN t.typnamespace OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace THEN t.typname::pg_catalog.text
            ELSE ''
        END AS name,
        CASE WHEN t.typtype OPERATOR(pg_catalog.=) 'd' THEN t.typbasetype::pg_catalog.int8 END AS base,
        -- Only types with this output function have the text of an array. Other types with elements do not.
        CASE
            WHEN t.typoutput::pg_catalog.oid OPERATOR(pg_catalog.=) 'pg_catalog.array_out'::pg_catalog.regproc::pg_catalog.oid
                THEN t.typelem::pg_catalog.int8
        END AS element,
        e.typdelim AS delimiter,
        CASE WHEN t.typtype OPERATOR(pg_catalog.=) 'c' THEN coalesce((
            SELECT pg_catalog.json_agg(
                pg_catalog.json_build_array(f.attname::pg_catalog.text, f.atttypid::pg_catalog.int8) ORDER BY f.attnum
            )
            FROM pg_catalog.pg_attribute AS f
            WHERE f.attrelid OPERATOR(pg_catalog.=) t.typrelid AND f.attnum OPERATOR(pg_catalog.>) 0 AND NOT f.attisdropped
        ), '[]') END AS fields
    FROM pg_catalog.unnest(ARRAY(SELECT DISTINCT p.oid FROM part AS p)) AS d (oid)
    JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) d.oid
    LEFT JOIN pg_catalog.pg_type AS e ON e.oid OPERATOR(pg_catalog.=) t.typelem
) AS x
UNION ALL
-- For names without a table, the tables of a similar name: in any schema, and in any case.
SELECT 'lookalike', pg_catalog.row_to_json(x)::pg_catalog.text
FROM (
    SELECT a.name AS of, n.nspname AS schema, c.relname AS table
    FROM asked AS a
    JOIN pg_catalog.pg_class AS c ON pg_catalog.lower(c.relname) OPERATOR(pg_catalog.=) pg_catalog.lower(a.name)
    JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
    WHERE a.oid IS NULL AND c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p']::pg_catalog."char"[])
) AS x
