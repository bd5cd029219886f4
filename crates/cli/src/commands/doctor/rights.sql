-- Rights that this role lacks, and the statements that grant them.
WITH me AS (
    SELECT current_user::text AS role, n.oid AS schema, n.oid IS NULL OR pg_has_role(n.nspowner, 'USAGE') AS installs
    FROM (VALUES (1)) AS one
    LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = 'pgherald'
)
SELECT format('role %s may not install: it cannot create schema pgherald', role),
    format('GRANT CREATE ON DATABASE %I TO %I;', current_database(), role)
FROM me WHERE schema IS NULL AND NOT has_database_privilege(current_database(), 'CREATE')
UNION ALL
SELECT format('role %s may not use schema pgherald', role), format('GRANT USAGE ON SCHEMA pgherald TO %I;', role)
FROM me WHERE schema IS NOT NULL AND NOT has_schema_privilege(schema, 'USAGE')
UNION ALL
-- A role that only reads, or runs groups, need not install.
SELECT format('role %s may not install: it cannot create functions in schema pgherald', role),
    format('GRANT CREATE ON SCHEMA pgherald TO %I;', role)
FROM me WHERE installs AND NOT has_schema_privilege(schema, 'CREATE')
UNION ALL
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
SELECT format('role %s may not read the outbox', min(role)),
    format('GRANT SELECT ON %s TO %I;', string_agg(format('pgherald.%I', c.relname), ', ' ORDER BY c.relname), min(role))
FROM me
JOIN pg_catalog.pg_class AS c ON c.relnamespace = me.schema
WHERE c.relkind IN ('r', 'p', 'v', 'S') AND NOT c.relispartition
    -- Functions read these with their owner's rights.
    AND c.relname NOT IN ('outbox_history', 'server_run')
    AND NOT CASE c.relkind WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT') ELSE has_table_privilege(c.oid, 'SELECT') END
HAVING count(*) > 0
UNION ALL
SELECT format('role %s may not run groups of durable handlers', min(role)),
    format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO %I;',
        string_agg(format('pgherald.%I', c.relname), ', ' ORDER BY c.relname), min(role))
FROM me
JOIN pg_catalog.pg_class AS c ON c.relnamespace = me.schema
WHERE c.relname IN ('consumer_group', 'consumer_node', 'consumer_slice', 'consumer_cursor', 'consumer_requirement',
        'parked_event')
    AND EXISTS (
        SELECT FROM unnest(ARRAY['INSERT', 'UPDATE', 'DELETE']) AS p WHERE NOT has_table_privilege(c.oid, p)
    )
HAVING count(*) > 0
UNION ALL
SELECT format('role %s may not call %s', role, p.oid::regprocedure),
    format('GRANT EXECUTE ON FUNCTION %s TO %I;', p.oid::regprocedure, role)
FROM me
JOIN pg_catalog.pg_proc AS p ON p.pronamespace = me.schema AND p.proname IN ('notify_rows', 'trim_outbox', 'history', 'restored')
WHERE NOT has_function_privilege(p.oid, 'EXECUTE') AND (p.proname <> 'notify_rows' OR me.installs)
UNION ALL
-- The owner of a trigger function can replace its code.
SELECT format('%s belongs to role %s, and schema pgherald to %s', p.oid::regprocedure, f.rolname, o.rolname),
    format('ALTER FUNCTION %s OWNER TO %I;', p.oid::regprocedure, o.rolname)
FROM pg_catalog.pg_namespace AS n
JOIN pg_catalog.pg_roles AS o ON o.oid = n.nspowner
JOIN pg_catalog.pg_proc AS p ON p.pronamespace = n.oid
JOIN pg_catalog.pg_roles AS f ON f.oid = p.proowner
WHERE n.nspname = 'pgherald' AND f.oid <> o.oid AND NOT f.rolsuper
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
        -- Also where it stands in postgresql.conf, which a reset would not outweigh.
        ELSE writable || 'ALTER SYSTEM SET default_transaction_read_only = off; SELECT pg_reload_conf();'
    END
FROM pg_catalog.pg_settings
CROSS JOIN (VALUES ('SET default_transaction_read_only = off; ')) AS w (writable)
WHERE name = 'default_transaction_read_only' AND setting = 'on' AND NOT pg_is_in_recovery()
