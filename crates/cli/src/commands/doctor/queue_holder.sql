-- The session with the oldest transaction, in any database. A session that listens does not read notifications while it is in a
-- transaction. The server does not show which sessions listen.
SELECT format('session %s of %s (%s), in a transaction since %s', pid, usename, application_name, xact_start::timestamptz(0)),
    format('SELECT pg_terminate_backend(%s);', pid)
FROM pg_catalog.pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
ORDER BY state LIKE 'idle in transaction%' DESC, xact_start
LIMIT 1
