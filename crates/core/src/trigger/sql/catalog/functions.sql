-- The functions made for the table of schema $1 and name $2: the one named $3, and whichever the table's
-- own triggers call, should it have been renamed. All of them if $3 is null.
SELECT p.proname::text
FROM pg_catalog.pg_proc AS p
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
WHERE n.nspname = 'pgherald' AND p.proname ~ '^notify_[0-9a-f]{16}$' AND p.pronargs = 0 AND (
    $3 IS NULL OR p.proname = $3 OR p.oid IN (
        SELECT g.tgfoid
        FROM pg_catalog.pg_trigger AS g
        JOIN pg_catalog.pg_class AS c ON c.oid = g.tgrelid
        JOIN pg_catalog.pg_namespace AS s ON s.oid = c.relnamespace
        WHERE s.nspname = $1 AND c.relname = $2 AND g.tgname ~ '^pgherald_notify_[a-z]+$'
    )
)
ORDER BY 1
