-- Every row of the catalog that has a part in announcing changes, in the version it has now. DDL writes new
-- versions, so this differs if anything was altered meanwhile, even if it looks the same again.
SELECT coalesce(pg_catalog.hashtextextended(pg_catalog.string_agg(
    pg_catalog.concat_ws(':', t.oid, t.xmin, p.oid, p.xmin), ',' ORDER BY t.oid), 0), 0)
FROM pg_catalog.pg_trigger AS t
JOIN pg_catalog.pg_proc AS p ON p.oid OPERATOR(pg_catalog.=) t.tgfoid
JOIN pg_catalog.pg_namespace AS h ON h.oid OPERATOR(pg_catalog.=) p.pronamespace
WHERE h.nspname OPERATOR(pg_catalog.=) 'pgherald'
