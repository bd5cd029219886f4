-- What groups require of tables.
SELECT group_name, specification FROM pgherald.consumer_requirement ORDER BY group_name, schema_name, table_name
