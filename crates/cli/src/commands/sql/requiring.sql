-- The groups that require the tables with schemas $1 and names $2: the position of the table in the arrays, from 0; the group; the
-- number of its consumers with a valid lease; and whether a consumer has stored the state of the triggers before, so that
-- consumers notice a change.
SELECT a.place - 1, r.group_name, (
    SELECT count(*) FROM pgherald.consumer_node AS n
    WHERE n.group_name = r.group_name AND n.lease_until > clock_timestamp()
), r.triggers IS NOT NULL
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS a (schema_name, table_name, place)
JOIN pgherald.consumer_requirement AS r USING (schema_name, table_name)
ORDER BY r.group_name, a.place
