-- Whether table $1.$2 is watched, be it for the sake of another one that function $3 was made for; and whether this role may
-- put triggers on it. No row if it is none.
SELECT EXISTS (
        SELECT FROM pg_catalog.pg_trigger AS t
        JOIN pg_catalog.pg_proc AS p ON p.oid OPERATOR(pg_catalog.=) t.tgfoid
        JOIN pg_catalog.pg_namespace AS h ON h.oid OPERATOR(pg_catalog.=) p.pronamespace
        WHERE t.tgrelid OPERATOR(pg_catalog.=) c.oid AND h.nspname OPERATOR(pg_catalog.=) 'pgherald' AND (
            t.tgname OPERATOR(pg_catalog.~) '^pgherald_notify_[a-z]+$'
            OR p.oid OPERATOR(pg_catalog.=) pg_catalog.to_regproc($3)
        )
    ),
    pg_catalog.has_table_privilege(c.oid, 'TRIGGER')
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE n.nspname OPERATOR(pg_catalog.=) $1 AND c.relname OPERATOR(pg_catalog.=) $2
    AND c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p']::pg_catalog."char"[])
