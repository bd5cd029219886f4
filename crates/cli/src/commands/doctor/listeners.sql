-- Listeners whose triggers are not in place. Listeners state that in the application_name of their sessions.
SELECT format('%s (session %s of role %s): the program requires more than is installed, so its listener is not live',
        application_name, pid, coalesce(usename, 'unknown')),
    'install what the program requires: its log lists it, and HeraldBuilder::manifest exports it for pgherald install --from FILE'
FROM pg_catalog.pg_stat_activity
WHERE datname = current_database() AND application_name ~ ' \(not live: .*\)$'
ORDER BY backend_start
