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
CREATE INDEX outbox_by_id ON pgherald.outbox (id);
CREATE INDEX outbox_by_xid ON pgherald.outbox (xid, id);
COMMENT ON TABLE pgherald.outbox IS {{comment}};
-- How far the outbox was emptied. A part is closed when it is no longer written to; closings are counted. Whoever
-- sees closing n in a snapshot sees every row of that part.
CREATE TABLE pgherald.outbox_retention (
    closed bigint NOT NULL,
    -- The last closing whose part was emptied.
    trimmed bigint NOT NULL
);
INSERT INTO pgherald.outbox_retention VALUES (0, 0);
CREATE TABLE pgherald.outbox_part (
    part smallint PRIMARY KEY,
    closed bigint,
    closed_at timestamptz,
    closed_in pg_snapshot
);
INSERT INTO pgherald.outbox_part (part) VALUES (0), (1), (2), (3);
CREATE FUNCTION pgherald.trim_outbox(keep interval, max_bytes bigint) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS {{trim}};
REVOKE ALL ON FUNCTION pgherald.trim_outbox(interval, bigint) FROM PUBLIC;
-- For people.
CREATE VIEW pgherald.outbox_event AS
    SELECT o.id, o.xid, o.sent_at, r.schema_name, r.table_name,
        CASE o.operation
            WHEN 'I' THEN 'insert' WHEN 'U' THEN 'update' WHEN 'D' THEN 'delete' WHEN 'T' THEN 'truncate'
        END AS operation,
        r.key_columns, o.key, o.columns, o.old_columns, o.changed
    FROM pgherald.outbox AS o
    JOIN pgherald.outbox_relation AS r ON r.id = o.relation;
