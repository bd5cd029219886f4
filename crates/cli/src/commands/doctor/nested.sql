-- Watched tables with row triggers of their own, if the recording trigger cannot read the current rows from the table. The
-- statements of such row triggers are recorded before the outer statement. Deferred triggers are left out, because they run
-- after the outer statement was recorded.
SELECT
    format('trigger %I of %I.%I may run nested statements, and %s: the last event of a row may have older values',
        found.row_trigger, s.nspname, c.relname, coalesce(found.right_missing, found.key_problem)),
    CASE
        WHEN found.right_missing IS NULL
            THEN format('install %I.%I with the columns of a unique index as its key, and with types that come with the server', s.nspname, c.relname)
        WHEN has_table_privilege(p.proowner, c.oid, 'SELECT') THEN format('ALTER ROLE %I BYPASSRLS;', o.rolname)
        ELSE format('GRANT SELECT ON %I.%I TO %I;', s.nspname, c.relname, o.rolname)
    END
FROM pg_catalog.pg_proc AS p
JOIN pg_catalog.pg_namespace AS h ON h.oid = p.pronamespace AND h.nspname = 'pgherald'
JOIN pg_catalog.pg_roles AS o ON o.oid = p.proowner
-- The watched table itself, not its partitions.
JOIN LATERAL (
    SELECT g.tgrelid FROM pg_catalog.pg_trigger AS g WHERE g.tgfoid = p.oid AND g.tgname ~ '^pgherald_notify_[a-z]+$' LIMIT 1
) AS g ON true
JOIN pg_catalog.pg_class AS c ON c.oid = g.tgrelid
JOIN pg_catalog.pg_namespace AS s ON s.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT ARRAY(
        SELECT k FROM json_array_elements_text(pg_catalog.obj_description(p.oid, 'pg_proc')::json -> 'key') AS k
    ) AS names
    WHERE pg_catalog.obj_description(p.oid, 'pg_proc') LIKE '{%"key":[%}'
) AS key
CROSS JOIN LATERAL (
    SELECT r.tgname AS row_trigger,
        CASE
            WHEN NOT has_table_privilege(p.proowner, c.oid, 'SELECT') THEN format('role %I may not read the table', o.rolname)
            WHEN c.relrowsecurity AND NOT o.rolsuper AND NOT o.rolbypassrls
                AND (c.relforcerowsecurity OR c.relowner <> p.proowner)
                THEN format('row security hides rows from role %I', o.rolname)
        END AS right_missing,
        CASE WHEN c.relkind = 'r' AND c.relhassubclass OR NOT EXISTS (
            SELECT FROM pg_catalog.pg_index AS i
            WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
                AND NOT EXISTS (
                    SELECT FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS u (attnum, place)
                    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = u.attnum
                    WHERE u.place <= i.indnkeyatts AND a.attname <> ALL (key.names)
                )
        ) OR EXISTS (
            SELECT FROM pg_catalog.pg_attribute AS a
            JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
            WHERE a.attrelid = c.oid AND a.attname = ANY (key.names)
                AND t.typtype = 'b' AND t.typnamespace <> 'pg_catalog'::regnamespace
        ) THEN 'no unique index identifies its rows by the key' END AS key_problem
    FROM pg_catalog.pg_trigger AS r
    WHERE r.tgrelid IN (SELECT t.tgrelid FROM pg_catalog.pg_trigger AS t WHERE t.tgfoid = p.oid)
        -- Triggers of pgherald do not write to watched tables.
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_proc AS q WHERE q.oid = r.tgfoid AND q.pronamespace = h.oid)
        AND NOT r.tgisinternal AND r.tgenabled <> 'D' AND NOT r.tginitdeferred
        -- FOR EACH ROW (1), and neither BEFORE (2) nor INSTEAD OF (64).
        AND r.tgtype & 1 = 1 AND r.tgtype & 66 = 0
    ORDER BY r.tgname LIMIT 1
) AS found
WHERE key.names <> '{}' AND (found.right_missing IS NOT NULL OR found.key_problem IS NOT NULL)
ORDER BY 1
