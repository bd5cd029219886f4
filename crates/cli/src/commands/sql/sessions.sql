-- The sessions of pgherald in this database without this one, and their roles. A session is known by its name, or by its last
-- statement where the program chose the name: listeners ask which channels they listen to and how the triggers are, consumers
-- read and write the tables of groups, both read the outbox. What people ask of these tables has no parameters. Of other
-- roles' sessions only the name is seen without pg_read_all_stats.
SELECT s.role, coalesce(s.application_name, ''), s.pid, coalesce(s.usename::text, ''), coalesce(host(s.client_addr), ''),
    coalesce(to_char(s.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), ''), coalesce(s.state, '')
FROM (
    SELECT *, CASE
        WHEN application_name LIKE 'pgherald listener%' THEN 'listener'
        WHEN application_name LIKE 'pgherald consumer%' THEN 'consumer'
        WHEN query ~ 'pgherald\.(consumer_|parked_event)' AND query ~ '\$[1-9]' THEN 'consumer'
        WHEN query ~* '(^|;)\s*LISTEN\s+"?pgherald' AND query !~* '(^|;)\s*LISTEN\s+pgherald_outbox' THEN 'listener'
        WHEN query ~ $$pg_listening_channels|nspname (OPERATOR\(pg_catalog\.=\)|=) 'pgherald'$$ THEN 'listener'
        WHEN query ~ 'pgherald\.outbox' AND query ~ '\$[1-9]' OR query ~ $$pg_sequence_last_value\('pgherald$$ THEN 'outbox reader'
        WHEN application_name LIKE 'pgherald%' OR query ~* '(^|;)\s*LISTEN\s+"?pgherald' THEN 'other'
    END AS role
    FROM pg_catalog.pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND backend_type IS NOT DISTINCT FROM 'client backend'
) AS s
WHERE s.role IS NOT NULL
ORDER BY s.role, s.application_name, s.pid
