-- The functions and views of the outbox. They are the same after every migration.
CREATE OR REPLACE FUNCTION pgherald.read_cursor(
    cursor text, OUT done pg_snapshot, OUT floor bigint, OUT closed bigint, OUT reading pg_snapshot, OUT "position" bigint,
    OUT latest pg_snapshot, OUT settled bigint, OUT begun bigint
)
    LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS {{read_cursor}};
GRANT EXECUTE ON FUNCTION pgherald.read_cursor(text) TO PUBLIC;
CREATE OR REPLACE FUNCTION pgherald.trim_outbox(keep interval, max_bytes bigint) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS {{trim}};
REVOKE ALL ON FUNCTION pgherald.trim_outbox(interval, bigint) FROM PUBLIC;
CREATE OR REPLACE FUNCTION pgherald.restored(with_cursors boolean DEFAULT true) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS {{restored}};
GRANT EXECUTE ON FUNCTION pgherald.restored(boolean) TO PUBLIC;
CREATE OR REPLACE FUNCTION pgherald.begin_history() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    -- Running attempts lock their cursors for as long as a lease.
    SET lock_timeout = '5min'
    -- Sessions of consumers, which call this function, have these settings off.
    SET enable_seqscan = on
    SET enable_hashjoin = on
AS {{begin_history}};
REVOKE ALL ON FUNCTION pgherald.begin_history() FROM PUBLIC;
CREATE OR REPLACE FUNCTION pgherald.history(with_cursors boolean DEFAULT true, OUT identity uuid, OUT runs uuid[])
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    -- A transaction that stays open after it has called this function may block other callers.
    SET lock_timeout = '2s'
AS {{history}};
GRANT EXECUTE ON FUNCTION pgherald.history(boolean) TO PUBLIC;
-- Shows the outbox in readable form.
CREATE OR REPLACE VIEW pgherald.outbox_event AS
    SELECT o.id, o.xid, o.sent_at, r.schema_name, r.table_name,
        CASE o.operation
            WHEN 'I' THEN 'insert' WHEN 'U' THEN 'update' WHEN 'D' THEN 'delete' WHEN 'T' THEN 'truncate'
        END AS operation,
        r.key_columns, o.key, o.columns, o.old_columns, o.changed
    FROM pgherald.outbox AS o
    JOIN pgherald.outbox_relation AS r ON r.id = o.relation;
CREATE OR REPLACE VIEW pgherald.consumer_group_status AS
    SELECT g.name, g.slices, g.is_paused,
        (SELECT count(*) FROM pgherald.consumer_node AS n
            WHERE n.group_name = g.name AND n.lease_until > clock_timestamp()
                -- Otherwise the clock was set back, and the node has not renewed its lease since.
                AND n.lease_until <= clock_timestamp() + n.lease) AS nodes,
        coalesce(l.events + l.further, 0) AS lag_events,
        coalesce(greatest(extract(epoch FROM clock_timestamp()) - extract(epoch FROM l.oldest), 0), 0)::float8 AS lag_seconds,
        (SELECT count(*) FROM pgherald.parked_event AS p
            WHERE p.group_name = g.name AND p.dead_at IS NULL) AS parked,
        (SELECT count(*) FROM pgherald.parked_event AS p
            WHERE p.group_name = g.name AND p.dead_at IS NOT NULL) AS dead_letters,
        ARRAY(
            SELECT c.slice FROM pgherald.consumer_cursor AS c CROSS JOIN LATERAL pgherald.read_cursor(c.cursor) AS p
            WHERE c.group_name = g.name AND p.done IS NULL ORDER BY c.slice
        ) AS unreadable_slices,
        coalesce(l.events > 100000, false) AS lag_is_estimate
    FROM pgherald.consumer_group AS g
    -- Rows that are visible now, and were not when the slice had been read up to its cursor. At most 100,001 of those with the
    -- lowest ids are counted: a row with a later id counts as one of its slice with the probability that its hash is.
    LEFT JOIN LATERAL (
        WITH point AS MATERIALIZED (
            -- A slice whose cursor cannot be parsed reads everything again.
            SELECT c.slice, coalesce(p.done, '1:1:') AS done, p.reading, p.position, coalesce(p.latest, '1:1:') AS latest,
                coalesce(p.settled, 0) AS settled, coalesce(p.begun, 1) AS begun
            FROM pgherald.consumer_cursor AS c CROSS JOIN LATERAL pgherald.read_cursor(c.cursor) AS p
            WHERE c.group_name = g.name
        ), late AS (
            -- Rows with earlier ids belong to transactions that were running, or began, while a slice was read.
            SELECT o.sent_at
            FROM unnest(ARRAY(
                SELECT x.xid
                FROM (
                    SELECT x.xid
                    FROM (SELECT DISTINCT p.latest::text AS latest FROM point AS p) AS d
                    CROSS JOIN LATERAL pg_snapshot_xip(d.latest::pg_snapshot) AS x (xid)
                    UNION
                    SELECT s.number::text::xid8
                    FROM (SELECT DISTINCT pg_snapshot_xmax(p.latest)::text::bigint AS next, p.begun FROM point AS p) AS d
                    CROSS JOIN LATERAL generate_series(d.next, d.begun - 1) AS s (number)
                ) AS x
                -- The index entries of a transaction that is still running lead to no visible row.
                WHERE pg_visible_in_snapshot(x.xid, pg_current_snapshot())
            )) AS x (xid)
            -- The offset makes the server look each transaction up, rather than read the whole outbox.
            CROSS JOIN LATERAL (
                SELECT e.id, e.xid, e.hash, e.sent_at FROM pgherald.outbox AS e WHERE e.xid = x.xid
                OFFSET 0
            ) AS o
            JOIN point AS r ON r.slice = (o.hash & 2147483647) % g.slices
            WHERE o.id <= r.settled AND NOT pg_visible_in_snapshot(o.xid, r.done)
                AND (r.reading IS NULL OR o.id > r.position OR NOT pg_visible_in_snapshot(o.xid, r.reading))
        ), counted AS (
            SELECT count(*) AS events, min(n.sent_at) AS oldest, max(n.id) AS last
            FROM (
                SELECT o.id, o.sent_at
                FROM (
                    SELECT greatest(min(p.settled), (SELECT min(n.id) - 1 FROM pgherald.outbox AS n)) AS settled FROM point AS p
                ) AS f
                -- By portions of ids, so that the rest is not read when the limit is reached. The planner expects few elements of an
                -- array. It expects many rows of a function, and then compiles the query, which takes a second.
                CROSS JOIN LATERAL unnest(
                    ARRAY(SELECT generate_series(f.settled, pg_sequence_last_value('pgherald.outbox_id'), 10000))
                ) AS s (before)
                CROSS JOIN LATERAL (
                    SELECT n.id, n.xid, n.hash, n.sent_at FROM pgherald.outbox AS n
                    WHERE n.id > s.before AND n.id <= s.before + 10000
                    OFFSET 0
                ) AS o
                JOIN point AS r ON r.slice = (o.hash & 2147483647) % g.slices
                WHERE o.id > r.settled AND NOT pg_visible_in_snapshot(o.xid, r.done)
                    AND (r.reading IS NULL OR o.id > r.position OR NOT pg_visible_in_snapshot(o.xid, r.reading))
                LIMIT 100001
            ) AS n
        )
        SELECT n.events + (SELECT count(*) FROM late) AS events, least(n.oldest, (SELECT min(e.sent_at) FROM late AS e)) AS oldest,
            CASE WHEN n.events > 100000 THEN (
                SELECT sum(greatest(pg_sequence_last_value('pgherald.outbox_id') - greatest(p.settled, n.last), 0))::bigint / g.slices
                FROM point AS p
            ) ELSE 0 END AS further
        FROM counted AS n
    ) AS l ON true;
