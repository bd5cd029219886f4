-- The functions made for the table of schema $1 and name $2: the one named $3, and whichever the table's
-- own triggers call, should it have been renamed. All of them if $3 is null.
SELECT p.proname::pg_catalog.text
FROM pg_catalog.pg_proc AS p
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
WHERE n.nspname OPERATOR(pg_catalog.=) 'pgherald' AND p.proname OPERATOR(pg_catalog.~) '^notify_[0-9a-f]{16}$' AND p.pronargs OPERATOR(pg_catalog.=) 0 AND (
    $3 IS NULL OR p.proname OPERATOR(pg_catalog.=) $3 OR p.oid OPERATOR(pg_catalog.=) ANY (
        SELECT g.tgfoid
        FROM pg_catalog.pg_trigger AS g
        JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) g.tgrelid
        JOIN pg_catalog.pg_namespace AS s ON s.oid OPERATOR(pg_catalog.=) c.relnamespace
        WHERE s.nspname OPERATOR(pg_catalog.=) $1 AND c.relname OPERATOR(pg_catalog.=) $2 AND g.tgname OPERATOR(pg_catalog.~) '^pgherald_notify_[a-z]+$'
    )
)
ORDER BY 1
