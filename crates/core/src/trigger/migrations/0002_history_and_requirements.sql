-- Detects restores, copies and clocks that are set back, and stores the requirements of groups.

-- There must be one row. If a restore of data has added another one, the row with the most progress stays.
DELETE FROM pgherald.outbox_retention AS r USING pgherald.outbox_retention AS o
WHERE (o.closed, o.trimmed, o.ctid) > (r.closed, r.trimmed, r.ctid);
ALTER TABLE pgherald.outbox_retention ADD COLUMN one boolean PRIMARY KEY DEFAULT true CHECK (one);
-- Identifies the server that has written the outbox, in two rows of one identity. Each row contains the id of the transaction that
-- has written it. A row that was restored or copied has another xmin, or belongs to another database or cluster. A primary key that
-- allows only one row would make a restore of data fail at such rows, and the restore would not be detected.
CREATE TABLE pgherald.outbox_history (
    identity uuid NOT NULL,
    number smallint NOT NULL,
    -- Null if the server does not reveal it.
    system_identifier bigint,
    database oid NOT NULL,
    outbox oid NOT NULL,
    -- The row's xmin when it was written.
    mark bigint NOT NULL,
    PRIMARY KEY (identity, number)
);
-- The starts of the server since it may last have lost transactions. A crash empties this unlogged table.
CREATE UNLOGGED TABLE pgherald.server_run (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    started_at timestamptz NOT NULL,
    -- One for each start, newest last, at most 100.
    runs uuid[] NOT NULL
);
-- The duration of a lease from each renewal on. Existing nodes have none, so they are deleted.
DELETE FROM pgherald.consumer_node;
ALTER TABLE pgherald.consumer_node ADD COLUMN lease interval NOT NULL;
-- The requirements of a group's handlers on each table, as JSON, and fingerprints of the table's triggers and of the structure of
-- its rows at the last check by a consumer.
CREATE TABLE pgherald.consumer_requirement (
    group_name text NOT NULL REFERENCES pgherald.consumer_group ON DELETE CASCADE,
    schema_name text NOT NULL,
    table_name text NOT NULL,
    specification text NOT NULL,
    triggers text,
    rows text,
    PRIMARY KEY (group_name, schema_name, table_name)
);
-- The types by which the texts of columns are read: a JSON object. Null if all texts are read as they are.
ALTER TABLE pgherald.outbox_relation ADD COLUMN column_types text;
-- Relays store events elsewhere. destination: the place, null for handlers. stored: what the relay knows to be stored there of the
-- slice when it wrote the cursor. problem: why a node stores nothing at present. usage: the share of the destination's limits
-- that is in use, if it refuses events when it is full.
ALTER TABLE pgherald.consumer_node ADD COLUMN problem text, ADD COLUMN usage float8;
ALTER TABLE pgherald.consumer_group ADD COLUMN destination text;
ALTER TABLE pgherald.consumer_cursor ADD COLUMN stored text;
-- Roles with rights on cursors get the same rights on requirements.
DO $$
DECLARE
    held record;
BEGIN
    FOR held IN
        SELECT a.privilege_type, r.rolname AS role
        FROM pg_class AS c CROSS JOIN aclexplode(c.relacl) AS a LEFT JOIN pg_roles AS r ON r.oid = a.grantee
        WHERE c.oid = 'pgherald.consumer_cursor'::regclass AND a.grantee <> c.relowner
    LOOP
        EXECUTE 'GRANT ' || held.privilege_type || ' ON pgherald.consumer_requirement TO '
            || coalesce(quote_ident(held.role), 'PUBLIC');
    END LOOP;
END
$$;
-- delay: the seconds until due_at at the time of the write. They bound the delay if the clock is set back later. is_unfiltered: the
-- event was parked after a restore, before a consumer applied the filter of the group's handler.
ALTER TABLE pgherald.parked_event ADD COLUMN delay float8, ADD COLUMN is_unfiltered boolean NOT NULL DEFAULT false;
CREATE INDEX parked_event_dead ON pgherald.parked_event (group_name, id) WHERE dead_at IS NOT NULL;
-- Events that were made due at once, for example by an operator. Consumers read only these after the group was changed.
CREATE INDEX parked_event_due ON pgherald.parked_event (group_name, slice)
    WHERE dead_at IS NULL AND due_at IS NOT NULL AND coalesce(delay, 0) = 0;
-- The existing rows belong to this server, and groups continue from their cursors, unless the rows were restored. They were restored
-- if one transaction has written rows with several values of xid, or if a row, or one of several cursors written together, contains
-- a transaction later than the one that has written it. (An attempt may write a single cursor after later transactions were read.)
-- The history of restored rows gets no mark, so a new history begins.
DO $$
DECLARE
    identity CONSTANT uuid := gen_random_uuid();
    here CONSTANT oid := (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database());
    half CONSTANT bigint := 2147483648;
    bound CONSTANT bigint := pg_current_xact_id()::text::bigint;
    is_restored CONSTANT boolean := EXISTS (
        SELECT FROM pgherald.outbox AS o GROUP BY o.xmin::text
        HAVING count(DISTINCT o.xid::text) > 1 OR max(o.xid::text::numeric)
            > max(bound + ((o.xmin::text::bigint - bound) % (2 * half) + 3 * half) % (2 * half) - half)
    ) OR EXISTS (
        SELECT FROM pgherald.consumer_cursor AS c GROUP BY c.xmin::text
        HAVING count(*) > 1 AND max(substring(c.cursor FROM '^[0-9]+:([0-9]+):')::numeric)
            > max(bound + ((c.xmin::text::bigint - bound) % (2 * half) + 3 * half) % (2 * half) - half)
    );
    cluster bigint;
BEGIN
    IF has_function_privilege('pg_control_system()', 'EXECUTE') THEN
        SELECT s.system_identifier INTO cluster FROM pg_control_system() AS s;
    END IF;
    INSERT INTO pgherald.outbox_history VALUES (identity, 1, cluster, here, 'pgherald.outbox'::regclass, 0);
    UPDATE pgherald.outbox_history SET mark = xmin::text::bigint WHERE number = 1 AND NOT is_restored;
    -- Written in a subtransaction, which has another id.
    BEGIN
        INSERT INTO pgherald.outbox_history VALUES (identity, 2, cluster, here, 'pgherald.outbox'::regclass, 0);
        UPDATE pgherald.outbox_history SET mark = xmin::text::bigint WHERE number = 2;
    EXCEPTION WHEN raise_exception THEN
        RAISE;
    END;
END
$$;
-- These come last, because writers wait from here on.
-- Writers compress the values of wide rows. With lz4, where the server has it, that takes a quarter of the time.
DO $$
DECLARE
    part text;
BEGIN
    IF EXISTS (SELECT FROM pg_settings AS s WHERE s.name = 'default_toast_compression' AND 'lz4' = ANY (s.enumvals)) THEN
        FOREACH part IN ARRAY ARRAY['outbox_0', 'outbox_1', 'outbox_2', 'outbox_3'] LOOP
            EXECUTE format(
                'ALTER TABLE pgherald.%I ALTER columns SET COMPRESSION lz4, ALTER old_columns SET COMPRESSION lz4', part
            );
        END LOOP;
    END IF;
END
$$;
-- Without a replica identity, a publication of all tables makes the server refuse the deletion of rows, which happens after a
-- restore. Inserts pay nothing for it.
ALTER TABLE pgherald.outbox REPLICA IDENTITY FULL;
ALTER TABLE pgherald.outbox_0 REPLICA IDENTITY FULL;
ALTER TABLE pgherald.outbox_1 REPLICA IDENTITY FULL;
ALTER TABLE pgherald.outbox_2 REPLICA IDENTITY FULL;
ALTER TABLE pgherald.outbox_3 REPLICA IDENTITY FULL;
