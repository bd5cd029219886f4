-- What all tables record in. Rows are small, because every writer pays for them: what the rows of a table have in
-- common stands in outbox_relation, once.
CREATE TABLE pgherald.outbox_relation (
    id bigint PRIMARY KEY,
    schema_name text NOT NULL,
    table_name text NOT NULL,
    -- A JSON array.
    key_columns text
);
CREATE SEQUENCE pgherald.outbox_id;
-- When readers were last woken up, in milliseconds since 1970, times 4; and which part is written to. Seen at once,
-- whatever becomes of the transaction that sets it.
CREATE SEQUENCE pgherald.outbox_clock MINVALUE 0 START 0;
-- Rows go when their part is emptied, not one by one.
CREATE TABLE pgherald.outbox (
    id bigint NOT NULL DEFAULT nextval('pgherald.outbox_id'),
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    sent_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    relation bigint NOT NULL,
    hash integer NOT NULL,
    part smallint NOT NULL,
    operation "char" NOT NULL,
    -- JSON, all of them.
    key text,
    columns text,
    old_columns text,
    changed text[]
) PARTITION BY LIST (part);
CREATE TABLE pgherald.outbox_0 PARTITION OF pgherald.outbox FOR VALUES IN (0);
CREATE TABLE pgherald.outbox_1 PARTITION OF pgherald.outbox FOR VALUES IN (1);
CREATE TABLE pgherald.outbox_2 PARTITION OF pgherald.outbox FOR VALUES IN (2);
CREATE TABLE pgherald.outbox_3 PARTITION OF pgherald.outbox FOR VALUES IN (3);
-- Without one, a publication of all tables has the server refuse that rows are deleted, as after a restore. Costs nothing
-- where rows are only inserted.
ALTER TABLE pgherald.outbox REPLICA IDENTITY FULL;
ALTER TABLE pgherald.outbox_0 REPLICA IDENTITY FULL;
ALTER TABLE pgherald.outbox_1 REPLICA IDENTITY FULL;
ALTER TABLE pgherald.outbox_2 REPLICA IDENTITY FULL;
ALTER TABLE pgherald.outbox_3 REPLICA IDENTITY FULL;
CREATE INDEX outbox_by_id ON pgherald.outbox (id);
CREATE INDEX outbox_by_xid ON pgherald.outbox (xid, id);
COMMENT ON TABLE pgherald.outbox IS {{comment}};
-- How far the outbox was emptied, and what is to be kept. A part is closed when it is no longer written to; closings are
-- counted. Whoever sees closing n in a snapshot sees every row of that part.
CREATE TABLE pgherald.outbox_retention (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    closed bigint NOT NULL,
    -- The last closing whose part was emptied.
    trimmed bigint NOT NULL,
    keep interval NOT NULL,
    max_bytes bigint NOT NULL
);
CREATE TABLE pgherald.outbox_part (
    part smallint PRIMARY KEY,
    closed bigint,
    closed_at timestamptz,
    closed_in pg_snapshot
);
-- Which server has written the outbox, in two rows of one identity, each with the id of the transaction that has written it.
-- Rows that a restore or a copy has brought have another one, or are of another database or cluster. A key of one row would
-- have a restore of data refuse such rows, and nothing would tell of them.
CREATE TABLE pgherald.outbox_history (
    identity uuid NOT NULL,
    number smallint NOT NULL,
    -- Null where the server withholds it.
    system_identifier bigint,
    database oid NOT NULL,
    outbox oid NOT NULL,
    -- The row's xmin as it was written.
    mark bigint NOT NULL,
    PRIMARY KEY (identity, number)
);
-- The starts of the server since the last one after which it may have forgotten transactions: those empty the table.
CREATE UNLOGGED TABLE pgherald.server_run (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    started_at timestamptz NOT NULL,
    -- One for each start, the newest last; at most 100.
    runs uuid[] NOT NULL
);
-- Groups of consumers: the keys of rows are spread over slices, each of which one node has at a time.
CREATE TABLE pgherald.consumer_group (
    name text PRIMARY KEY,
    slices integer NOT NULL,
    is_paused boolean NOT NULL DEFAULT false,
    -- Grows when somebody else than a node has changed something that nodes keep in memory.
    revision bigint NOT NULL DEFAULT 0,
    -- The last closing of which it was told that rows went unread.
    trimmed bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- A node whose lease is over is deleted by the others, and never comes back under its id.
CREATE TABLE pgherald.consumer_node (
    group_name text NOT NULL REFERENCES pgherald.consumer_group ON DELETE CASCADE,
    id bigint NOT NULL,
    description text NOT NULL,
    lease_until timestamptz NOT NULL,
    -- How long it lasts from each renewal on.
    lease interval NOT NULL,
    PRIMARY KEY (group_name, id)
);
CREATE TABLE pgherald.consumer_slice (
    group_name text NOT NULL REFERENCES pgherald.consumer_group ON DELETE CASCADE,
    slice integer NOT NULL,
    node bigint,
    -- Counts the owners: what one of them has to write is refused once there is another.
    epoch bigint NOT NULL,
    PRIMARY KEY (group_name, slice)
) WITH (fillfactor = 50);
-- How far each slice was read. Written again and again: while a transaction elsewhere keeps all versions of a row alive,
-- they would have to be gone through each time, but for the generation, which its owner raises now and then.
CREATE TABLE pgherald.consumer_cursor (
    group_name text NOT NULL REFERENCES pgherald.consumer_group ON DELETE CASCADE,
    slice integer NOT NULL,
    epoch bigint NOT NULL,
    generation bigint NOT NULL DEFAULT 0,
    -- Its first word is a pg_snapshot.
    cursor text NOT NULL,
    PRIMARY KEY (group_name, slice, epoch, generation)
) WITH (fillfactor = 10);
-- What the handlers of a group require of each table, as JSON; and what the table was when a consumer looked last: what records
-- its changes, and what its rows are made of.
CREATE TABLE pgherald.consumer_requirement (
    group_name text NOT NULL REFERENCES pgherald.consumer_group ON DELETE CASCADE,
    schema_name text NOT NULL,
    table_name text NOT NULL,
    specification text NOT NULL,
    triggers text,
    rows text,
    PRIMARY KEY (group_name, schema_name, table_name)
);
-- Events that are to be tried again, those that wait behind one of the same row, and dead letters.
CREATE TABLE pgherald.parked_event (
    group_name text NOT NULL REFERENCES pgherald.consumer_group ON DELETE CASCADE,
    id bigint NOT NULL,
    slice integer NOT NULL,
    xid xid8,
    sent_at timestamptz NOT NULL,
    relation bigint NOT NULL,
    hash integer NOT NULL,
    -- As in the outbox; or R: read everything again, for the reason that stands in key.
    operation "char" NOT NULL,
    key text,
    columns text,
    old_columns text,
    changed text[],
    attempts integer NOT NULL,
    error text,
    parked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- When it is tried again; without it: as soon as it is the first of its row.
    due_at timestamptz,
    -- Since when it is a dead letter.
    dead_at timestamptz,
    -- How many seconds due_at was away when it was written. However the clock is set since, it is no more.
    delay float8,
    -- A restore has parked it before any consumer applied the filter of the group's handler.
    is_unfiltered boolean NOT NULL DEFAULT false,
    PRIMARY KEY (group_name, id)
);
CREATE INDEX parked_event_by_slice ON pgherald.parked_event (group_name, slice, id) WHERE dead_at IS NULL;
CREATE FUNCTION pgherald.trim_outbox(keep interval, max_bytes bigint) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS {{trim}};
REVOKE ALL ON FUNCTION pgherald.trim_outbox(interval, bigint) FROM PUBLIC;
CREATE FUNCTION pgherald.restored(with_cursors boolean DEFAULT true) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS {{restored}};
GRANT EXECUTE ON FUNCTION pgherald.restored(boolean) TO PUBLIC;
CREATE FUNCTION pgherald.begin_history() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    -- Attempts under way hold their cursors for as long as a lease.
    SET lock_timeout = '5min'
    -- Consumers, whose sessions call it, have these off.
    SET enable_seqscan = on
    SET enable_hashjoin = on
AS {{begin_history}};
REVOKE ALL ON FUNCTION pgherald.begin_history() FROM PUBLIC;
CREATE FUNCTION pgherald.history(with_cursors boolean DEFAULT true, OUT identity uuid, OUT runs uuid[])
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    -- A transaction that stays open after it has called the function may keep others waiting.
    SET lock_timeout = '2s'
AS {{history}};
GRANT EXECUTE ON FUNCTION pgherald.history(boolean) TO PUBLIC;
-- For people.
CREATE VIEW pgherald.outbox_event AS
    SELECT o.id, o.xid, o.sent_at, r.schema_name, r.table_name,
        CASE o.operation
            WHEN 'I' THEN 'insert' WHEN 'U' THEN 'update' WHEN 'D' THEN 'delete' WHEN 'T' THEN 'truncate'
        END AS operation,
        r.key_columns, o.key, o.columns, o.old_columns, o.changed
    FROM pgherald.outbox AS o
    JOIN pgherald.outbox_relation AS r ON r.id = o.relation;
CREATE VIEW pgherald.consumer_group_status AS
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
            WHERE p.group_name = g.name AND p.dead_at IS NOT NULL) AS dead_letters
    FROM pgherald.consumer_group AS g
    -- What is visible now, and was not when the slice had been read up to its cursor.
    LEFT JOIN LATERAL (
        SELECT count(*) AS events, min(o.sent_at) AS oldest
        FROM (
            SELECT c.slice, split_part(c.cursor, ' ', 1)::pg_snapshot AS done,
                nullif(split_part(c.cursor, ' ', 5), '')::pg_snapshot AS reading,
                nullif(split_part(c.cursor, ' ', 9), '')::bigint AS position
            FROM pgherald.consumer_cursor AS c WHERE c.group_name = g.name
            OFFSET 0
        ) AS r
        JOIN pgherald.outbox AS o ON (o.hash & 2147483647) % g.slices = r.slice
        WHERE o.xid >= (
                SELECT pg_snapshot_xmin(split_part(c.cursor, ' ', 1)::pg_snapshot) AS oldest
                FROM pgherald.consumer_cursor AS c WHERE c.group_name = g.name ORDER BY oldest LIMIT 1
            )
            AND NOT pg_visible_in_snapshot(o.xid, r.done)
            AND (r.reading IS NULL OR o.id > r.position OR NOT pg_visible_in_snapshot(o.xid, r.reading))
    ) AS l ON true;
{{seed}}SELECT pgherald.history();
