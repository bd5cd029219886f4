-- The rights of role $1 on the objects of schema pgherald: one row for each object and privilege. Grants to PUBLIC count, and so
-- do grants to roles whose rights role $1 inherits. Owners and superusers have rights without grants.
WITH home AS (
    SELECT n.oid, n.nspowner, n.nspacl FROM pg_namespace AS n WHERE n.nspname = 'pgherald'
), object AS (
    SELECT 'database' AS kind, d.datname::text AS name, format('DATABASE %I', d.datname) AS target, d.oid, d.datdba AS owner,
        coalesce(d.datacl, acldefault('d', d.datdba)) AS acl, '{CREATE}'::text[] AS privileges
    FROM pg_database AS d WHERE d.datname = current_database()
    UNION ALL
    SELECT 'schema', 'pgherald', 'SCHEMA pgherald', h.oid, h.nspowner, coalesce(h.nspacl, acldefault('n', h.nspowner)),
        '{USAGE, CREATE}'
    FROM home AS h
    UNION ALL
    SELECT 'table', c.relname::text, format('pgherald.%I', c.relname), c.oid, c.relowner,
        coalesce(c.relacl, acldefault('r', c.relowner))
            || ARRAY(SELECT unnest(a.attacl) FROM pg_attribute AS a WHERE a.attrelid = c.oid AND NOT a.attisdropped),
        '{SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER}'::text[]
            || CASE WHEN current_setting('server_version_num')::int >= 170000 THEN '{MAINTAIN}'::text[] END
    FROM home AS h JOIN pg_class AS c ON c.relnamespace = h.oid AND c.relkind IN ('r', 'p', 'v')
    UNION ALL
    SELECT 'sequence', c.relname::text, format('SEQUENCE pgherald.%I', c.relname), c.oid, c.relowner,
        coalesce(c.relacl, acldefault('s', c.relowner)), '{SELECT, USAGE, UPDATE}'
    FROM home AS h JOIN pg_class AS c ON c.relnamespace = h.oid AND c.relkind = 'S'
    UNION ALL
    SELECT 'function', p.proname::text, format('FUNCTION %s', p.oid::regprocedure), p.oid, p.proowner,
        coalesce(p.proacl, acldefault('f', p.proowner)), '{EXECUTE}'
    FROM home AS h JOIN pg_proc AS p ON p.pronamespace = h.oid
)
SELECT o.kind, o.name, o.target, r.privilege,
    CASE o.kind
        WHEN 'database' THEN has_database_privilege($1, o.oid, r.privilege)
        WHEN 'schema' THEN has_schema_privilege($1, o.oid, r.privilege)
        WHEN 'table' THEN has_table_privilege($1, o.oid, r.privilege)
        WHEN 'sequence' THEN has_sequence_privilege($1, o.oid, r.privilege)
        ELSE has_function_privilege($1, o.oid, r.privilege)
    END AS is_held,
    pg_has_role($1, o.owner, 'USAGE') AS is_owner,
    coalesce(g.grantees, '{}') AS grantees, coalesce(g.grantors, '{}') AS grantors
FROM object AS o
CROSS JOIN LATERAL unnest(o.privileges) AS r (privilege)
LEFT JOIN LATERAL (
    -- The acl of a table includes the grants on its columns.
    SELECT array_agg(DISTINCT e.name) AS grantees, array_agg(DISTINCT e.name) FILTER (WHERE e.is_grantable) AS grantors
    FROM (
        SELECT coalesce(quote_ident(a.rolname), 'PUBLIC') AS name, x.is_grantable
        FROM aclexplode(o.acl) AS x LEFT JOIN pg_roles AS a ON a.oid = x.grantee
        WHERE x.privilege_type = r.privilege AND x.grantee <> o.owner
            AND CASE x.grantee WHEN 0 THEN true ELSE pg_has_role($1, x.grantee, 'USAGE') END
    ) AS e
) AS g ON true
ORDER BY o.kind, o.name, r.privilege
