-- Tables named like one of $1, whatever their schema and case, behind the name that they are like.
SELECT a.name, n.nspname::pg_catalog.text, c.relname::pg_catalog.text
FROM pg_catalog.unnest($1) AS a (name)
JOIN pg_catalog.pg_class AS c ON pg_catalog.lower(c.relname) OPERATOR(pg_catalog.=) pg_catalog.lower(a.name)
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p']::pg_catalog."char"[])
ORDER BY 1, 2, 3
