-- The outbox: its comment, its owner, and whether that is this role or a superuser.
SELECT pg_catalog.obj_description(c.oid, 'pg_class'), o.rolname::text, o.rolsuper OR o.rolname = current_user
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_roles AS o ON o.oid = c.relowner
WHERE n.nspname = 'pgherald' AND c.relname = 'outbox'
