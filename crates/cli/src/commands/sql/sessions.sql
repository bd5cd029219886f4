-- The sessions of pgherald in this database except this one, and their roles. The application_name identifies a session. If the
-- program has set that name, the session's last statement does: listeners query their channels and triggers, consumers read and
-- write the tables of groups, and both read the outbox. Queries that people type have no parameters. Without pg_read_all_stats,
-- only the application_name of other roles' sessions is visible.
SELECT s.role, coalesce(s.application_name, ''), s.pid, coalesce(s.usename::text, ''), coalesce(host(s.client_addr), ''),
    coalesce(to_char(s.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), ''), coalesce(s.state, '')
FROM (
    SELECT *, CASE
        WHEN application_name LIKE 'pgherald listener%' OR application_name ~ ' \(not live: .*\)$' THEN 'listener'
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
