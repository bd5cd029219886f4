-- All tables record their changes in the outbox. Rows are small, because every writer pays for them: the data that the rows of a
-- table have in common is stored once, in outbox_relation.
CREATE TABLE pgherald.outbox_relation (
    id bigint PRIMARY KEY,
    schema_name text NOT NULL,
    table_name text NOT NULL,
    -- A JSON array.
    key_columns text
);
CREATE SEQUENCE pgherald.outbox_id;
-- The time of the last wake-up of readers, in milliseconds since 1970, times 4, plus the part that is written to. A change is
-- visible at once, even if the transaction that makes it is rolled back.
CREATE SEQUENCE pgherald.outbox_clock MINVALUE 0 START 0;
-- Rows are removed by emptying their part, not one by one.
CREATE TABLE pgherald.outbox (
    id bigint NOT NULL DEFAULT nextval('pgherald.outbox_id'),
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    sent_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    relation bigint NOT NULL,
    hash integer NOT NULL,
    part smallint NOT NULL,
    operation "char" NOT NULL,
    -- These three are JSON.
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
-- The progress of emptying, and what to keep. A part is closed when no transaction writes to it any more. Closings are counted. A
-- snapshot that sees closing n sees every row of that part.
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
-- Groups of consumers. The keys of rows are spread over slices. Each slice belongs to one node at a time.
CREATE TABLE pgherald.consumer_group (
    name text PRIMARY KEY,
    slices integer NOT NULL,
    is_paused boolean NOT NULL DEFAULT false,
    -- Raised by every change, other than by a node, to data that nodes keep in memory.
    revision bigint NOT NULL DEFAULT 0,
    -- The last closing for which the group received a resync, because rows were emptied before it had read them.
    trimmed bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- Other nodes delete a node whose lease has expired. Its id is never used again.
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
    -- The fencing token. It is raised for each new owner, and writes with an older epoch are refused.
    epoch bigint NOT NULL,
    PRIMARY KEY (group_name, slice)
) WITH (fillfactor = 50);
-- The position up to which each slice was read. Each row is updated often. While a long transaction keeps old row versions, every
-- update would have to step through them. So the owner of a slice changes the generation from time to time.
CREATE TABLE pgherald.consumer_cursor (
    group_name text NOT NULL REFERENCES pgherald.consumer_group ON DELETE CASCADE,
    slice integer NOT NULL,
    epoch bigint NOT NULL,
    generation bigint NOT NULL DEFAULT 0,
    -- Its first word is a pg_snapshot.
    cursor text NOT NULL,
    PRIMARY KEY (group_name, slice, epoch, generation)
) WITH (fillfactor = 10);
-- Events to retry, events that wait behind one of the same key, and dead letters.
CREATE TABLE pgherald.parked_event (
    group_name text NOT NULL REFERENCES pgherald.consumer_group ON DELETE CASCADE,
    id bigint NOT NULL,
    slice integer NOT NULL,
    xid xid8,
    sent_at timestamptz NOT NULL,
    relation bigint NOT NULL,
    hash integer NOT NULL,
    -- As in the outbox, or R for a resync, whose reason is stored in key.
    operation "char" NOT NULL,
    key text,
    columns text,
    old_columns text,
    changed text[],
    attempts integer NOT NULL,
    error text,
    parked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The time of the next attempt. If null, the event is due as soon as it is the first of its key.
    due_at timestamptz,
    -- The time at which it became a dead letter.
    dead_at timestamptz,
    PRIMARY KEY (group_name, id)
);
CREATE INDEX parked_event_by_slice ON pgherald.parked_event (group_name, slice, id) WHERE dead_at IS NULL;
