-- Marks the tables with schemas $2 and names $3, which are not installed as group $1 requires, unless they have fingerprints. The
-- empty fingerprint differs from any other, so the group receives a resync once the tables are installed.
UPDATE pgherald.consumer_requirement AS r SET triggers = ''
FROM unnest($2::text[], $3::text[]) AS g (schema_name, table_name)
WHERE r.group_name = $1 AND r.schema_name = g.schema_name AND r.table_name = g.table_name AND r.triggers IS NULL
