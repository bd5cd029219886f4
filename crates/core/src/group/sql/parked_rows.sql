SELECT id, xid::text, sent_at, relation, hash, operation, key, columns, old_columns, changed, attempts, is_unfiltered
FROM pgherald.parked_event WHERE group_name = $1 AND id = ANY ($2::bigint[]) AND slice = ANY ($3::int[]) AND dead_at IS NULL
