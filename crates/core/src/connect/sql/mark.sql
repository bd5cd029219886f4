-- Marks the server process by a lock that it holds until its session ends.
SELECT pg_catalog.pg_backend_pid(), pg_catalog.pg_try_advisory_lock_shared($1, $2)
