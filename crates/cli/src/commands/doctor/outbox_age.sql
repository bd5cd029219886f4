-- The age of the oldest row, and the retention, in seconds.
SELECT extract(epoch FROM clock_timestamp() - (SELECT sent_at FROM pgherald.outbox ORDER BY id LIMIT 1))::float8,
    extract(epoch FROM keep)::float8
FROM pgherald.outbox_retention
