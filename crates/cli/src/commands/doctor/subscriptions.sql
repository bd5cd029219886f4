-- The tables to which subscriptions of this database write, and the functions of pgherald that triggers on these tables call.
SELECT DISTINCT 'pgherald.' || p.proname, format('%s.%s', n.nspname, c.relname)
FROM pg_catalog.pg_subscription_rel AS s
JOIN pg_catalog.pg_class AS c ON c.oid = s.srrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = c.oid AND t.tgname ~ '^pgherald_notify_'
JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid
JOIN pg_catalog.pg_namespace AS h ON h.oid = p.pronamespace AND h.nspname = 'pgherald'
ORDER BY 2, 1
