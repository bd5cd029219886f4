-- The functions $1 of schema pgherald with arguments of types $2: name, comment and body, owner, whether that
-- is this role or a superuser, whether this role may call it, whether it runs with its owner's rights and
-- under which settings. Then how its owner stands to schema and shared function, of the types $3: whether
-- they belong to it or a superuser, and whether it may call the function.
-- Without obj_description, which before PostgreSQL 14 looks its operators up on the search_path.
SELECT
    p.proname::pg_catalog.text,
    (
        SELECT d.description FROM pg_catalog.pg_description AS d
        WHERE d.objoid OPERATOR(pg_catalog.=) p.oid AND d.classoid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objsubid OPERATOR(pg_catalog.=) 0
    ),
    p.prosrc,
    o.rolname::pg_catalog.text,
    o.rolsuper OR o.rolname OPERATOR(pg_catalog.=) current_user,
    pg_catalog.has_function_privilege(p.oid, 'EXECUTE')
        AND pg_catalog.has_schema_privilege(n.oid, 'USAGE'),
    p.prosecdef,
    coalesce(p.proconfig, '{}'),
    (n.nspowner OPERATOR(pg_catalog.=) o.oid OR s.rolsuper) AND (h.oid IS NULL OR h.proowner OPERATOR(pg_catalog.=) o.oid OR r.rolsuper),
    h.oid IS NULL OR (
        pg_catalog.has_function_privilege(o.oid, h.oid, 'EXECUTE')
        AND pg_catalog.has_schema_privilege(o.oid, n.oid, 'USAGE')
    )
FROM pg_catalog.unnest($1) AS a (name)
JOIN pg_catalog.pg_proc AS p ON p.proname OPERATOR(pg_catalog.=) a.name
JOIN pg_catalog.pg_roles AS o ON o.oid OPERATOR(pg_catalog.=) p.proowner
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
JOIN pg_catalog.pg_roles AS s ON s.oid OPERATOR(pg_catalog.=) n.nspowner
LEFT JOIN pg_catalog.pg_proc AS h
    ON h.pronamespace OPERATOR(pg_catalog.=) n.oid AND h.proname OPERATOR(pg_catalog.=) 'notify_rows' AND pg_catalog.oidvectortypes(h.proargtypes) OPERATOR(pg_catalog.=) $3
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid OPERATOR(pg_catalog.=) h.proowner
WHERE n.nspname OPERATOR(pg_catalog.=) 'pgherald' AND pg_catalog.oidvectortypes(p.proargtypes) OPERATOR(pg_catalog.=) $2
