-- Settings that keep triggers from firing.
SELECT
    format('session_replication_role is replica for %s%s: changes fire no triggers',
        coalesce('role ' || r.rolname, 'all roles'), ' in database ' || d.datname),
    CASE
        WHEN r.rolname IS NULL AND d.datname IS NOT NULL
            THEN format('ALTER DATABASE %I RESET session_replication_role;', d.datname)
        ELSE format('ALTER ROLE %s%s RESET session_replication_role;',
            coalesce(quote_ident(r.rolname), 'ALL'), ' IN DATABASE ' || quote_ident(d.datname))
    END
FROM pg_catalog.pg_db_role_setting AS s
LEFT JOIN pg_catalog.pg_database AS d ON d.oid = s.setdatabase
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = s.setrole
WHERE (s.setdatabase = 0 OR d.datname = current_database())
    AND EXISTS (SELECT FROM unnest(s.setconfig) AS c WHERE lower(c) = 'session_replication_role=replica')
UNION ALL
SELECT
    format('session_replication_role is replica (%s): changes fire no triggers', source),
    CASE source
        WHEN 'client' THEN 'take session_replication_role out of PGOPTIONS and the connection string'
        WHEN 'command line' THEN 'start the server without -c session_replication_role=replica'
        ELSE 'ALTER SYSTEM SET session_replication_role = origin; SELECT pg_reload_conf();'
    END
FROM pg_catalog.pg_settings
WHERE name = 'session_replication_role' AND setting = 'replica' AND source NOT IN ('user', 'database', 'database user', 'global')
