-- The triggers that call any of the functions $1 of schema pgherald.
SELECT
    n.nspname::text, c.relname::text, t.tgname::text, p.proname::text,
    t.tgenabled IN ('O', 'A'),
    t.tgtype, t.tgnewtable::text, t.tgoldtable::text,
    t.tgqual IS NULL AND t.tgattr::text = '' AND t.tgnargs = 0
FROM pg_catalog.pg_trigger AS t
JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid
JOIN pg_catalog.pg_namespace AS h ON h.oid = p.pronamespace
JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE h.nspname = 'pgherald' AND p.proname = ANY ($1)
ORDER BY 1, 2, 3
