-- The table whose triggers call function $1, whatever it was called then, rather than one of its partitions.
SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text
FROM pg_catalog.pg_trigger AS t
JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) t.tgrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE t.tgfoid OPERATOR(pg_catalog.=) pg_catalog.to_regproc($1) AND t.tgname OPERATOR(pg_catalog.~) '^pgherald_notify_[a-z]+$'
ORDER BY c.relispartition, t.oid
LIMIT 1
