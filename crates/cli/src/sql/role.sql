-- The role with name $1, and the owner of schema pgherald.
SELECT r.oid, quote_ident(r.rolname), r.rolsuper, o.rolname::text, quote_ident(o.rolname), coalesce(o.rolsuper, false),
    coalesce(pg_has_role(r.oid, o.oid, 'USAGE'), false),
    EXISTS (SELECT FROM pg_class AS c WHERE c.relnamespace = n.oid AND c.relname = 'outbox')
FROM pg_roles AS r
LEFT JOIN pg_namespace AS n ON n.nspname = 'pgherald'
LEFT JOIN pg_roles AS o ON o.oid = n.nspowner
WHERE r.rolname = $1
