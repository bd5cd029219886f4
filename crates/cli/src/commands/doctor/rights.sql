-- What this role may not do, and what grants it.
WITH me AS (
    SELECT current_user::text AS role, n.oid AS schema, o.rolsuper OR o.rolname = current_user AS may_own
    FROM (VALUES (1)) AS one
    LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname = 'pgherald'
    LEFT JOIN pg_catalog.pg_roles AS o ON o.oid = n.nspowner
)
SELECT format('role %s may not install: it cannot create schema pgherald', role),
    format('GRANT CREATE ON DATABASE %I TO %I;', current_database(), role)
FROM me WHERE schema IS NULL AND NOT has_database_privilege(current_database(), 'CREATE')
UNION ALL
SELECT format('role %s may not use schema pgherald', role), format('GRANT USAGE ON SCHEMA pgherald TO %I;', role)
FROM me WHERE schema IS NOT NULL AND NOT has_schema_privilege(schema, 'USAGE')
UNION ALL
-- Another role that is no superuser installs by itself.
SELECT format('role %s may not install: it cannot create functions in schema pgherald', role),
    format('GRANT CREATE ON SCHEMA pgherald TO %I;', role)
FROM me WHERE may_own AND NOT has_schema_privilege(schema, 'CREATE')
UNION ALL
SELECT DISTINCT format('role %s may not upgrade the triggers of %I.%I', role, n.nspname, c.relname),
    format('GRANT TRIGGER ON TABLE %I.%I TO %I;', n.nspname, c.relname, role)
FROM me
JOIN pg_catalog.pg_proc AS p ON p.pronamespace = me.schema
JOIN pg_catalog.pg_trigger AS t ON t.tgfoid = p.oid AND t.tgname ~ '^pgherald_notify_'
JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE NOT has_table_privilege(c.oid, 'TRIGGER')
UNION ALL
SELECT format('role %s may not read the outbox', min(role)),
    format('GRANT SELECT ON %s TO %I;', string_agg(format('pgherald.%I', c.relname), ', ' ORDER BY c.relname), min(role))
FROM me
JOIN pg_catalog.pg_class AS c ON c.relnamespace = me.schema
WHERE c.relkind IN ('r', 'p', 'v', 'S') AND NOT c.relispartition
    AND NOT CASE c.relkind WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT') ELSE has_table_privilege(c.oid, 'SELECT') END
HAVING count(*) > 0
