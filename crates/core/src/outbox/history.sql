-- The history that a cursor belongs to. No row if there is no outbox.
--
-- A promotion begins a new timeline. After a crash, transactions that were not on disk are forgotten, and their ids are
-- given out again; nothing tells of a crash but the statistics, which are then counted anew. (They are also if somebody
-- resets them; then a resync too many is the price.)
SELECT pg_catalog.concat_ws(':', s.system_identifier, pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8),
    extract(epoch FROM b.stats_reset), d.oid, pg_catalog.to_regclass('pgherald.outbox')::pg_catalog.oid)
FROM pg_catalog.pg_control_system() AS s, pg_catalog.pg_stat_bgwriter AS b, pg_catalog.pg_database AS d
WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database() AND pg_catalog.to_regclass('pgherald.outbox') IS NOT NULL
