-- Every row of the catalog that has a part in announcing changes, in the version it has now. DDL writes new
-- versions, so this differs if anything was altered meanwhile, even if it looks the same again.
SELECT coalesce(hashtextextended(string_agg(
    concat_ws(':', t.oid, t.xmin, p.oid, p.xmin), ',' ORDER BY t.oid), 0), 0)
FROM pg_catalog.pg_trigger AS t
JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid
JOIN pg_catalog.pg_namespace AS h ON h.oid = p.pronamespace
WHERE h.nspname = 'pgherald'
