RESET SESSION AUTHORIZATION;
RESET ROLE;
RESET ALL;
CLOSE ALL;
UNLISTEN *;
DISCARD TEMP;
DISCARD SEQUENCES;
-- The source of the view pg_prepared_statements.
SELECT pg_catalog.count(*) FILTER (WHERE p.from_sql), pg_catalog.count(*) FILTER (WHERE NOT p.from_sql),
    pg_catalog.pg_advisory_unlock_all()
FROM pg_catalog.pg_prepared_statement() AS p;
