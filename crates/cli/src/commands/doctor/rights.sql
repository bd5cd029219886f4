-- Owners of tables and functions, and settings, that prevent this role from using its rights; and the statements that correct
-- them.
WITH me AS (
    SELECT current_user::text AS role, n.oid AS schema, n.oid IS NULL OR pg_has_role(n.nspowner, 'USAGE') AS installs
    FROM (VALUES (1)) AS one
    LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = 'pgherald'
)
-- The TRIGGER right is not enough to change or remove triggers.
SELECT DISTINCT format('role %s may not upgrade the triggers of %I.%I, which belongs to role %s', role, n.nspname, c.relname, o.rolname),
    format('GRANT %I TO %I;', o.rolname, role)
FROM me
JOIN pg_catalog.pg_proc AS p ON p.pronamespace = me.schema
JOIN pg_catalog.pg_trigger AS t ON t.tgfoid = p.oid AND t.tgname ~ '^pgherald_notify_'
JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_roles AS o ON o.oid = c.relowner
WHERE me.installs AND NOT pg_has_role(c.relowner, 'USAGE')
UNION ALL
-- The owner of a trigger function can replace its code. If a superuser owns the schema, other roles may install on their own
-- tables.
SELECT format('%s belongs to role %s, and schema pgherald to %s', p.oid::regprocedure, f.rolname, o.rolname),
    format('ALTER FUNCTION %s OWNER TO %I;', p.oid::regprocedure, o.rolname)
FROM pg_catalog.pg_namespace AS n
JOIN pg_catalog.pg_roles AS o ON o.oid = n.nspowner
JOIN pg_catalog.pg_proc AS p ON p.pronamespace = n.oid
JOIN pg_catalog.pg_roles AS f ON f.oid = p.proowner
WHERE n.nspname = 'pgherald' AND f.oid <> o.oid AND NOT f.rolsuper AND NOT (
        o.rolsuper AND EXISTS (
            SELECT FROM pg_catalog.pg_trigger AS t JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
            WHERE t.tgfoid = p.oid AND c.relowner = f.oid
        )
    )
UNION ALL
SELECT format('sessions of role %s are read-only: commands that write fail, and so do handlers that write on connections of their own',
        current_user),
    CASE source
        WHEN 'client' THEN 'take default_transaction_read_only out of PGOPTIONS and the connection string'
        WHEN 'database' THEN writable || format('ALTER DATABASE %I RESET default_transaction_read_only;', current_database())
        WHEN 'user' THEN writable || format('ALTER ROLE %I RESET default_transaction_read_only;', session_user)
        WHEN 'global' THEN writable || 'ALTER ROLE ALL RESET default_transaction_read_only;'
        WHEN 'database user' THEN writable || format('ALTER ROLE %I IN DATABASE %I RESET default_transaction_read_only;',
            session_user, current_database())
        WHEN 'command line' THEN 'start the server without -c default_transaction_read_only=on'
        -- SET, not RESET: a reset would not override a value in postgresql.conf.
        ELSE writable || 'ALTER SYSTEM SET default_transaction_read_only = off; SELECT pg_reload_conf();'
    END
FROM pg_catalog.pg_settings
CROSS JOIN (VALUES ('SET default_transaction_read_only = off; ')) AS w (writable)
WHERE name = 'default_transaction_read_only' AND setting = 'on' AND NOT pg_is_in_recovery()
