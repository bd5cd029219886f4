-- For each group, the number of rows with parked events. Each resync counts as a row of its own.
SELECT group_name, count(DISTINCT (relation, coalesce(key, id::text)))
FROM pgherald.parked_event WHERE dead_at IS NULL GROUP BY group_name
