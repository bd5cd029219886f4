-- The sessions of this database that are pgherald's, but for this one. Who gives sessions a name of his own is known by what
-- was asked last: listeners ask again and again what they listen to and how the triggers are, nodes of a group write to its
-- tables. Of other roles' sessions only the name is seen without pg_read_all_stats.
SELECT coalesce(application_name, ''), pid, coalesce(usename::text, ''), coalesce(host(client_addr), ''),
    coalesce(to_char(backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), ''), coalesce(state, '')
FROM pg_catalog.pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type IS NOT DISTINCT FROM 'client backend' AND (
    application_name LIKE 'pgherald%'
    OR query ~* '(^|;)\s*LISTEN\s+"?pgherald'
    OR query ~ $$pg_listening_channels|pgherald\.consumer_|nspname = 'pgherald'$$
)
ORDER BY application_name, pid
