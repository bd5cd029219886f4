-- Names are the server's own, whatever others have put on the search path; which is put aside as well.
SELECT pg_catalog.set_config('pgherald.search_path', pg_catalog.current_setting('search_path'), true);
SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
{{schema}}-- One installer at a time: the catalog's unique index has the second to make this function wait for the end of the first
-- one's transaction, in which it is gone already. Takes the right to create in the schema, which an advisory lock does not.
CREATE FUNCTION pgherald.installing() RETURNS void LANGUAGE sql AS '';
DROP FUNCTION pgherald.installing();
-- Rather give up than be the end of a deadlock that PostgreSQL solves by failing somebody's write. Puts
-- aside what the session has, in milliseconds, for the rest of a transaction that this joins.
SELECT
    pg_catalog.set_config('pgherald.lock_timeout', own.setting, true),
    pg_catalog.set_config(
        'lock_timeout', least(nullif(own.setting::int4, 0), 500, greatest(1, d.setting::int4 / 2))::text, true
    )
FROM pg_catalog.pg_settings AS own, pg_catalog.pg_settings AS d
WHERE own.name = 'lock_timeout' AND d.name = 'deadlock_timeout';
