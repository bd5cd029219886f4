-- The table whose triggers call function $1, rather than one of its partitions; and whether that records changes in the
-- outbox.
SELECT n.nspname::text, c.relname::text, p.prosrc LIKE '%pgherald.outbox%'
FROM pg_catalog.pg_trigger AS t
JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid
JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE t.tgfoid = pg_catalog.to_regproc($1) AND t.tgname ~ '^pgherald_notify_[a-z]+$'
LIMIT 1
