-- The functions and views of the outbox. They are the same after every migration.
CREATE OR REPLACE FUNCTION pgherald.read_cursor(
    cursor text, OUT done pg_snapshot, OUT floor bigint, OUT closed bigint, OUT reading pg_snapshot, OUT "position" bigint
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
        coalesce(l.events, 0) AS lag_events,
        coalesce(greatest(extract(epoch FROM clock_timestamp()) - extract(epoch FROM l.oldest), 0), 0)::float8 AS lag_seconds,
        (SELECT count(*) FROM pgherald.parked_event AS p
            WHERE p.group_name = g.name AND p.dead_at IS NULL) AS parked,
        (SELECT count(*) FROM pgherald.parked_event AS p
            WHERE p.group_name = g.name AND p.dead_at IS NOT NULL) AS dead_letters,
        ARRAY(
            SELECT c.slice FROM pgherald.consumer_cursor AS c CROSS JOIN LATERAL pgherald.read_cursor(c.cursor) AS p
            WHERE c.group_name = g.name AND p.done IS NULL ORDER BY c.slice
        ) AS unreadable_slices
    FROM pgherald.consumer_group AS g
    -- Rows that are visible now, and were not when the slice had been read up to its cursor.
    LEFT JOIN LATERAL (
        SELECT count(*) AS events, min(o.sent_at) AS oldest
        FROM (
            -- A slice whose cursor cannot be parsed reads everything again.
            SELECT c.slice, coalesce(p.done, '1:1:') AS done, p.reading, p.position
            FROM pgherald.consumer_cursor AS c CROSS JOIN LATERAL pgherald.read_cursor(c.cursor) AS p
            WHERE c.group_name = g.name
            OFFSET 0
        ) AS r
        JOIN pgherald.outbox AS o ON (o.hash & 2147483647) % g.slices = r.slice
        WHERE o.xid >= (
                SELECT pg_snapshot_xmin(coalesce(p.done, '1:1:')) AS oldest
                FROM pgherald.consumer_cursor AS c CROSS JOIN LATERAL pgherald.read_cursor(c.cursor) AS p
                WHERE c.group_name = g.name ORDER BY oldest LIMIT 1
            )
            AND NOT pg_visible_in_snapshot(o.xid, r.done)
            AND (r.reading IS NULL OR o.id > r.position OR NOT pg_visible_in_snapshot(o.xid, r.reading))
    ) AS l ON true;
