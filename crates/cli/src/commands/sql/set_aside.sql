-- Events of group $1 that were set aside, dead letters if $2, else parked ones: those with the ids $3 if given, of the table with
-- schema $4 and name $5 if given. The second column is whether the event waits behind an earlier event of the same row.
SELECT p.id, p.dead_at IS NULL AND p.due_at IS NULL
FROM pgherald.parked_event AS p
LEFT JOIN pgherald.outbox_relation AS r ON r.id = p.relation
WHERE p.group_name = $1 AND (p.dead_at IS NOT NULL) = $2 AND ($3::int8[] IS NULL OR p.id = ANY ($3))
    AND ($4::text IS NULL OR (r.schema_name = $4 AND r.table_name = $5))
ORDER BY p.id
