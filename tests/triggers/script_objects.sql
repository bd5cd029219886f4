-- All installed objects, one per line.
SELECT concat_ws(
        E'\n', 'function', p.proname, p.prosrc, p.proconfig, p.prosecdef, p.proacl, p.provolatile, pg_get_function_arguments(p.oid),
        obj_description(p.oid, 'pg_proc')
    )
FROM pg_proc AS p WHERE p.pronamespace = 'pgherald'::regnamespace
UNION ALL
SELECT concat_ws(E'\n', 'trigger', pg_get_triggerdef(t.oid), t.tgenabled) FROM pg_trigger AS t
WHERE NOT t.tgisinternal
UNION ALL
SELECT concat_ws(
        E'\n', 'relation', c.relname, c.relkind, c.relacl, c.relreplident, c.relpersistence, obj_description(c.oid, 'pg_class'), (
            SELECT string_agg(
                concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid)), E'\n'
                ORDER BY a.attnum
            )
            FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        ), CASE c.relkind WHEN 'v' THEN pg_get_viewdef(c.oid) WHEN 'i' THEN pg_get_indexdef(c.oid) END
    )
FROM pg_class AS c WHERE c.relnamespace = 'pgherald'::regnamespace
UNION ALL
SELECT concat_ws(E'\n', 'schema', n.nspacl, obj_description(n.oid, 'pg_namespace')) FROM pg_namespace AS n WHERE n.nspname = 'pgherald'
UNION ALL
SELECT concat_ws(E'\n', 'constraint', conname, pg_get_constraintdef(oid)) FROM pg_constraint
WHERE connamespace = 'pgherald'::regnamespace
UNION ALL
SELECT r::text FROM pgherald.outbox_relation AS r
UNION ALL
SELECT r::text FROM pgherald.outbox_retention AS r
UNION ALL
SELECT r::text FROM pgherald.outbox_part AS r
ORDER BY 1
