-- The triggers that call any of the functions $1 of schema pgherald.
SELECT
    n.nspname::pg_catalog.text, c.relname::pg_catalog.text, t.tgname::pg_catalog.text, p.proname::pg_catalog.text,
    t.tgenabled OPERATOR(pg_catalog.=) ANY (ARRAY['O', 'A']::pg_catalog."char"[]),
    t.tgtype, t.tgnewtable::pg_catalog.text, t.tgoldtable::pg_catalog.text,
    t.tgqual IS NULL AND t.tgattr::pg_catalog.text OPERATOR(pg_catalog.=) '' AND t.tgnargs OPERATOR(pg_catalog.=) 0
FROM pg_catalog.pg_trigger AS t
JOIN pg_catalog.pg_proc AS p ON p.oid OPERATOR(pg_catalog.=) t.tgfoid
JOIN pg_catalog.pg_namespace AS h ON h.oid OPERATOR(pg_catalog.=) p.pronamespace
JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) t.tgrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE h.nspname OPERATOR(pg_catalog.=) 'pgherald' AND p.proname OPERATOR(pg_catalog.=) ANY ($1)
ORDER BY 1, 2, 3
