SELECT pg_catalog.set_config('lock_timeout', pg_catalog.current_setting('pgherald.lock_timeout'), true);
SELECT pg_catalog.set_config('search_path', pg_catalog.current_setting('pgherald.search_path'), true);
