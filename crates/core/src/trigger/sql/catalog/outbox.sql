-- The outbox: its comment, its owner, and whether that is this role or a superuser.
SELECT pg_catalog.obj_description(c.oid, 'pg_class'), o.rolname::pg_catalog.text, o.rolsuper OR o.rolname OPERATOR(pg_catalog.=) current_user
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
JOIN pg_catalog.pg_roles AS o ON o.oid OPERATOR(pg_catalog.=) c.relowner
WHERE n.nspname OPERATOR(pg_catalog.=) 'pgherald' AND c.relname OPERATOR(pg_catalog.=) 'outbox'
