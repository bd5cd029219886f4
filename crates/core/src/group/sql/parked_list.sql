-- Parked events and dead letters of group $1 that fulfil a condition on $2, at most $3 of them.
SELECT id, xid::pg_catalog.text, sent_at, relation, hash, operation, key, columns, old_columns, changed, attempts, error, parked_at,
    due_at, dead_at
FROM pgherald.parked_event WHERE group_name OPERATOR(pg_catalog.=) $1 AND {{which}} ORDER BY id LIMIT $3
