-- The history that a cursor belongs to. No row if there is no outbox.
--
-- A promotion begins a new timeline. After a crash, transactions that were not on disk are forgotten, and their ids are
-- given out again; nothing tells of a crash but the statistics, which are then counted anew. (They are also if somebody
-- resets them; then a resync too many is the price.)
SELECT concat_ws(':', s.system_identifier, left(pg_walfile_name(pg_current_wal_lsn()), 8),
    extract(epoch FROM b.stats_reset), d.oid, to_regclass('pgherald.outbox')::oid)
FROM pg_control_system() AS s, pg_catalog.pg_stat_bgwriter AS b, pg_catalog.pg_database AS d
WHERE d.datname = current_database() AND to_regclass('pgherald.outbox') IS NOT NULL
