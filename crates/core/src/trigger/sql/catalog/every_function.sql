-- The functions made for any table.
SELECT p.proname::pg_catalog.text
FROM pg_catalog.pg_proc AS p
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
WHERE n.nspname OPERATOR(pg_catalog.=) 'pgherald' AND p.proname OPERATOR(pg_catalog.~) '^notify_[0-9a-f]{16}$' AND p.pronargs OPERATOR(pg_catalog.=) 0
ORDER BY 1
