-- Names resolve to the server's objects, whatever other roles have created on the search path. The search path is saved too.
SELECT pg_catalog.set_config('pgherald.search_path', pg_catalog.current_setting('search_path'), true);
SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
{{schema}}-- One installer at a time: the catalog's unique index makes the second one that creates this function wait for the
-- end of the first one's transaction, which has dropped it again. This requires the right to create in the schema; an advisory
-- lock would not.
CREATE FUNCTION pgherald.installing() RETURNS void LANGUAGE sql AS '';
DROP FUNCTION pgherald.installing();
-- Give up before a deadlock, which PostgreSQL might resolve by failing a writer. Saves the setting of the session, in
-- milliseconds, for the rest of a transaction that this joins.
SELECT
    pg_catalog.set_config('pgherald.lock_timeout', own.setting, true),
    pg_catalog.set_config(
        'lock_timeout', least(nullif(own.setting::int4, 0), 500, greatest(1, d.setting::int4 / 2))::text, true
    )
FROM pg_catalog.pg_settings AS own, pg_catalog.pg_settings AS d
WHERE own.name = 'lock_timeout' AND d.name = 'deadlock_timeout';
