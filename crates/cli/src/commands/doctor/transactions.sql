-- Transactions of this database that have been open for longer than $1.
SELECT format('session %s of %s (%s) is %s, its transaction open for %s', pid, usename, application_name, state,
        date_trunc('second', clock_timestamp() - xact_start)),
    format('SELECT pg_terminate_backend(%s);', pid)
FROM pg_catalog.pg_stat_activity
WHERE backend_type = 'client backend' AND datname = current_database() AND pid <> pg_backend_pid()
    AND xact_start < clock_timestamp() - $1::interval
ORDER BY xact_start
