-- The roles with whose rights trigger functions run, whether one of their functions records changes in the outbox, and the tables
-- of the functions.
SELECT o.rolname::text, bool_or(p.prosrc ~ 'INSERT INTO pgherald\.outbox'),
    string_agg(DISTINCT format('%s.%s', n.nspname, c.relname), ', ' ORDER BY format('%s.%s', n.nspname, c.relname))
FROM pg_proc AS p
JOIN pg_namespace AS h ON h.oid = p.pronamespace AND h.nspname = 'pgherald'
JOIN pg_roles AS o ON o.oid = p.proowner
JOIN pg_trigger AS t ON t.tgfoid = p.oid AND t.tgname ~ '^pgherald_notify_'
JOIN pg_class AS c ON c.oid = t.tgrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
GROUP BY o.rolname ORDER BY o.rolname
