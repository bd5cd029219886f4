-- One simple query is one transaction. READ WRITE and READ COMMITTED override the settings of roles and databases: after a start
-- of the server or a restore of the database, the function writes.
SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE;
SELECT (
    SELECT d.description FROM pg_catalog.pg_description AS d
    WHERE d.objoid OPERATOR(pg_catalog.=) pg_catalog.to_regclass('pgherald.outbox')::pg_catalog.oid
        AND d.classoid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid OPERATOR(pg_catalog.=) 0
) AS version, h.identity, pg_catalog.array_to_string(h.runs, ',') AS runs
FROM pgherald.history({{with_cursors}}) AS h
