-- Stores that group $1 requires of the tables of schemas $2 and names $3 what texts $4 say, and of no other table anything.
WITH given AS (
    SELECT * FROM unnest($2::text[], $3::text[], $4::text[]) AS g (schema_name, table_name, specification)
), dropped AS (
    DELETE FROM pgherald.consumer_requirement AS r
    WHERE r.group_name = $1
        AND NOT EXISTS (SELECT FROM given AS g WHERE g.schema_name = r.schema_name AND g.table_name = r.table_name)
)
INSERT INTO pgherald.consumer_requirement AS r (group_name, schema_name, table_name, specification)
SELECT $1, g.schema_name, g.table_name, g.specification FROM given AS g ORDER BY 2, 3
ON CONFLICT (group_name, schema_name, table_name) DO UPDATE SET specification = EXCLUDED.specification
WHERE r.specification <> EXCLUDED.specification
