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
-- How far the outbox was emptied, and what is to be kept. A part is closed when it is no longer written to; closings are
-- counted. Whoever sees closing n in a snapshot sees every row of that part.
CREATE TABLE pgherald.outbox_retention (
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
    PRIMARY KEY (group_name, id)
);
CREATE INDEX parked_event_by_slice ON pgherald.parked_event (group_name, slice, id) WHERE dead_at IS NULL;
