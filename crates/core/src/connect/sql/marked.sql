-- Returns a row if the process still holds its mark. If this session runs in that very process, it removes the mark.
SELECT
    lock.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid(),
    CASE
        WHEN lock.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()
            THEN pg_catalog.pg_advisory_unlock_shared($1, $2)
    END
FROM pg_catalog.pg_locks AS lock
WHERE lock.locktype OPERATOR(pg_catalog.=) 'advisory'
    AND lock.pid OPERATOR(pg_catalog.=) $3
    AND lock.classid OPERATOR(pg_catalog.=) $1::pg_catalog.oid
    AND lock.objid OPERATOR(pg_catalog.=) $2::pg_catalog.oid
    AND lock.objsubid OPERATOR(pg_catalog.=) 2
