-- The sessions of pgherald in this database without this one, and their roles. A session is known by its name, or by its last
-- statement where the program chose the name: listeners ask which channels they listen to and how the triggers are, consumers
-- read and write the tables of groups, both read the outbox. Of other roles' sessions only the name is seen without
-- pg_read_all_stats.
SELECT
    CASE
        WHEN application_name LIKE 'pgherald listener%' THEN 'listener'
        WHEN application_name LIKE 'pgherald consumer%' THEN 'consumer'
        WHEN query ~ 'pgherald\.(consumer_|parked_event|trim_outbox)' THEN 'consumer'
        WHEN query ~* '(^|;)\s*LISTEN\s+"?pgherald' AND query !~ '(^|;)\s*LISTEN\s+"?pgherald_outbox' THEN 'listener'
        WHEN query ~ $$pg_listening_channels|nspname (OPERATOR\(pg_catalog\.=\)|=) 'pgherald'$$ THEN 'listener'
        WHEN query ~ 'pgherald\.(outbox|history)' THEN 'outbox reader'
        ELSE 'other'
    END AS role,
    coalesce(application_name, ''), pid, coalesce(usename::text, ''), coalesce(host(client_addr), ''),
    coalesce(to_char(backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), ''), coalesce(state, '')
FROM pg_catalog.pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type IS NOT DISTINCT FROM 'client backend' AND (
    application_name LIKE 'pgherald%'
    OR query ~* '(^|;)\s*LISTEN\s+"?pgherald'
    OR query ~ $$pg_listening_channels|pgherald\.(consumer_|parked_event|outbox|trim_outbox|history)|nspname (OPERATOR\(pg_catalog\.=\)|=) 'pgherald'$$
)
ORDER BY role, application_name, pid
