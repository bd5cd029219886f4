-- The groups that require the tables with schemas $1 and names $2: the place of the table in the arrays, from 0; the group; and how
-- many of its consumers have a lease that is not over; and whether one of them has looked at the triggers before, so that a change
-- is noticed.
SELECT a.place - 1, r.group_name, (
    SELECT count(*) FROM pgherald.consumer_node AS n
    WHERE n.group_name = r.group_name AND n.lease_until > clock_timestamp()
), r.triggers IS NOT NULL
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS a (schema_name, table_name, place)
JOIN pgherald.consumer_requirement AS r USING (schema_name, table_name)
ORDER BY r.group_name, a.place
