-- Function $1 of schema pgherald with arguments of types $2: its comment and body, its owner, whether that
-- is this role or a superuser, whether this role may call it, whether it runs with its owner's rights and
-- under which settings. Then how its owner stands to schema and shared function, of the types $3: whether
-- they belong to it or a superuser, and whether it may call the function.
SELECT
    pg_catalog.obj_description(p.oid, 'pg_proc'),
    p.prosrc,
    o.rolname::text,
    o.rolsuper OR o.rolname = current_user,
    pg_catalog.has_function_privilege(p.oid, 'EXECUTE')
        AND pg_catalog.has_schema_privilege(n.oid, 'USAGE'),
    p.prosecdef,
    coalesce(p.proconfig, '{}'),
    (n.nspowner = o.oid OR s.rolsuper) AND (h.oid IS NULL OR h.proowner = o.oid OR r.rolsuper),
    h.oid IS NULL OR (
        pg_catalog.has_function_privilege(o.oid, h.oid, 'EXECUTE')
        AND pg_catalog.has_schema_privilege(o.oid, n.oid, 'USAGE')
    )
FROM pg_catalog.pg_proc AS p
JOIN pg_catalog.pg_roles AS o ON o.oid = p.proowner
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
JOIN pg_catalog.pg_roles AS s ON s.oid = n.nspowner
LEFT JOIN pg_catalog.pg_proc AS h
    ON h.pronamespace = n.oid AND h.proname = 'notify_rows' AND pg_catalog.oidvectortypes(h.proargtypes) = $3
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = h.proowner
WHERE n.nspname = 'pgherald' AND p.proname = $1 AND pg_catalog.oidvectortypes(p.proargtypes) = $2
