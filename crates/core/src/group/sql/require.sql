-- Stores the requirements $4 of group $1 on the tables with schemas $2 and names $3. Deletes its requirements on other tables,
-- unless a consumer is live: during a rolling deployment, that consumer may still require them.
WITH given AS (
    SELECT * FROM unnest($2::text[], $3::text[], $4::text[]) AS g (schema_name, table_name, specification)
), dropped AS (
    DELETE FROM pgherald.consumer_requirement AS r
    WHERE r.group_name = $1
        AND NOT EXISTS (SELECT FROM given AS g WHERE g.schema_name = r.schema_name AND g.table_name = r.table_name)
        AND NOT EXISTS (SELECT FROM pgherald.consumer_node AS n WHERE n.group_name = $1 AND n.lease_until > clock_timestamp())
)
INSERT INTO pgherald.consumer_requirement AS r (group_name, schema_name, table_name, specification)
SELECT $1, g.schema_name, g.table_name, g.specification FROM given AS g ORDER BY 2, 3
ON CONFLICT (group_name, schema_name, table_name) DO UPDATE SET specification = EXCLUDED.specification
WHERE r.specification <> EXCLUDED.specification
