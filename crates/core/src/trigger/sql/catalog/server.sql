-- The server's version; and of schema pgherald whether it exists, its owner, and whether that is this role
-- or a superuser.
SELECT
    pg_catalog.current_setting('server_version_num')::pg_catalog.int4,
    n.oid IS NOT NULL,
    o.rolname::pg_catalog.text,
    o.rolsuper OR o.rolname OPERATOR(pg_catalog.=) current_user
FROM (VALUES (1)) AS one
LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname OPERATOR(pg_catalog.=) 'pgherald'
LEFT JOIN pg_catalog.pg_roles AS o ON o.oid OPERATOR(pg_catalog.=) n.nspowner
