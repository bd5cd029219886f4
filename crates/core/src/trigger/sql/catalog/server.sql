-- The server's version, and whether schema pgherald exists.
SELECT
    pg_catalog.current_setting('server_version_num')::int4,
    pg_catalog.to_regnamespace('pgherald') IS NOT NULL
