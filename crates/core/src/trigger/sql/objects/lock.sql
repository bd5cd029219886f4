-- Names must resolve to the server's objects, whatever other roles have created on the search_path. Saves the former search_path.
SELECT pg_catalog.set_config('pgherald.search_path', pg_catalog.current_setting('search_path'), true);
SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
{{schema}}-- Only one installer runs at a time: a unique index of the catalog makes the second one that creates this function wait for
-- the end of the first one's transaction, which drops the function again. This requires the right to create in the schema. An
-- advisory lock would be open to any role.
CREATE FUNCTION pgherald.installing() RETURNS void LANGUAGE sql AS '';
DROP FUNCTION pgherald.installing();
-- Time out before a deadlock is detected, because PostgreSQL might resolve it by failing a writer. Saves the setting of the session,
-- in milliseconds, for the rest of a transaction that the plan joins.
SELECT
    pg_catalog.set_config('pgherald.lock_timeout', own.setting, true),
    pg_catalog.set_config(
        'lock_timeout', least(nullif(own.setting::int4, 0), 500, greatest(1, d.setting::int4 / 2))::text, true
    )
FROM pg_catalog.pg_settings AS own, pg_catalog.pg_settings AS d
WHERE own.name = 'lock_timeout' AND d.name = 'deadlock_timeout';
