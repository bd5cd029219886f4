-- Returns why transaction ids and positions in the outbox do not belong to this server; null if they do.
--
-- Reading all cursors takes long while a transaction keeps their old versions. So consumers check them when they connect,
-- not at each heartbeat: a consumer whose cursor is ahead of the server detects that when it reads, and connects again.
DECLARE
    here CONSTANT oid := (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database());
    cluster bigint;
    rows_of record;
    last record;
    taken bigint;
BEGIN
    -- Managed servers withhold it. Without it, the other facts identify a copy.
    IF has_function_privilege('pg_control_system()', 'EXECUTE') THEN
        SELECT s.system_identifier INTO cluster FROM pg_control_system() AS s;
    END IF;
    SELECT count(*) AS rows, count(DISTINCT h.identity) AS identities, count(DISTINCT h.mark) AS marks,
        bool_and(h.mark = h.xmin::text::bigint) AS is_written_here,
        bool_and(h.database = here AND h.outbox = 'pgherald.outbox'::regclass) AS is_of_here,
        coalesce(bool_and(h.system_identifier = cluster), true) AS is_of_cluster
    INTO rows_of FROM pgherald.outbox_history AS h;
    IF rows_of.rows = 0 THEN
        RETURN 'pgherald.outbox_history is empty, as after the restore of a schema without its data';
    ELSIF rows_of.rows <> 2 OR rows_of.identities <> 1 OR rows_of.marks <> 2 THEN
        RETURN 'data of another database was restored into this one';
    ELSIF NOT rows_of.is_written_here THEN
        RETURN 'the database was restored from a dump';
    ELSIF NOT rows_of.is_of_here THEN
        RETURN 'the database is a copy of another one';
    ELSIF NOT rows_of.is_of_cluster THEN
        RETURN 'the cluster is another one, as after pg_upgrade';
    END IF;

    -- The transaction of a visible row was committed, so its id is below the snapshot's xmax, except for this transaction
    -- itself.
    SELECT (SELECT o.id FROM pgherald.outbox AS o ORDER BY o.id DESC LIMIT 1) AS id,
        coalesce((
            SELECT o.xid FROM pgherald.outbox AS o
            WHERE o.xid IS DISTINCT FROM pg_current_xact_id_if_assigned() ORDER BY o.xid DESC, o.id DESC LIMIT 1
        ) >= pg_snapshot_xmax(pg_current_snapshot()), false) AS is_ahead,
        c.floor, coalesce(c.xmax > pg_snapshot_xmax(pg_current_snapshot())::text::numeric, false) AS is_read_ahead,
        coalesce(c.closed > (SELECT r.closed FROM pgherald.outbox_retention AS r), false) AS is_closed_ahead
    INTO last
    FROM (
        -- A cursor that cannot be parsed is ignored here.
        SELECT max(pg_snapshot_xmax(r.done)::text::numeric) AS xmax, max(r.floor) AS floor, max(r.closed) AS closed
        FROM pgherald.consumer_cursor AS f CROSS JOIN LATERAL pgherald.read_cursor(f.cursor) AS r
        WHERE with_cursors
    ) AS c;
    IF last.is_ahead OR last.is_read_ahead THEN
        RETURN 'rows or cursors were restored whose transactions this server has not come to';
    ELSIF last.is_closed_ahead THEN
        RETURN 'pgherald.outbox_retention was set back';
    END IF;
    -- After the rows and cursors were read, the sequence may only be ahead of them.
    IF has_sequence_privilege('pgherald.outbox_id', 'USAGE, SELECT') THEN
        taken := coalesce(pg_sequence_last_value('pgherald.outbox_id'), 0);
        IF greatest(last.id, last.floor) > taken THEN
            RETURN 'sequence pgherald.outbox_id was set back';
        END IF;
    END IF;
    RETURN NULL;
END
