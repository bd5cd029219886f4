-- The requirements of groups on tables.
SELECT group_name, schema_name, table_name, specification FROM pgherald.consumer_requirement ORDER BY 1, 2, 3
