-- Tables named like $1, whatever their schema and case.
SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE pg_catalog.lower(c.relname) OPERATOR(pg_catalog.=) pg_catalog.lower($1) AND c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p']::pg_catalog."char"[])
ORDER BY 1, 2
LIMIT 5
