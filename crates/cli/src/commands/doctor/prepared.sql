-- Transactions of this database that were prepared longer ago than $1.
SELECT format('%s of %s has been prepared for %s; to commit it instead, run COMMIT PREPARED', gid, owner,
        date_trunc('second', clock_timestamp() - prepared)),
    format('ROLLBACK PREPARED %L;', gid)
FROM pg_catalog.pg_prepared_xacts
WHERE database = current_database() AND prepared < clock_timestamp() - $1::interval
ORDER BY prepared
