-- Subscriptions of this database that apply prepared transactions to tables with row-level triggers of pgherald. Requires
-- PostgreSQL 15 or later.
SELECT format('subscription %I applies prepared transactions, which fail where triggers of %I.%I notify', s.subname, n.nspname, c.relname),
    format('create subscription %I again WITH (two_phase = false)', s.subname)
FROM pg_catalog.pg_subscription AS s
JOIN pg_catalog.pg_subscription_rel AS r ON r.srsubid = s.oid
JOIN pg_catalog.pg_class AS c ON c.oid = r.srrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE s.subtwophasestate <> 'd' AND EXISTS (
    SELECT FROM pg_catalog.pg_trigger AS t
    JOIN pg_catalog.pg_proc AS f ON f.oid = t.tgfoid
    -- pg_partition_tree() returns no rows for a table without partitions.
    WHERE (t.tgrelid = c.oid OR t.tgrelid IN (SELECT p.relid FROM pg_catalog.pg_partition_tree(c.oid) AS p))
        AND t.tgname ~ '^pgherald_notify_[a-z]+_row'
        AND f.pronamespace = (SELECT h.oid FROM pg_catalog.pg_namespace AS h WHERE h.nspname = 'pgherald')
)
ORDER BY 1
