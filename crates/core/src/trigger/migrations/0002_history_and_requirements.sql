-- Restores, copies and clocks that are set back are noticed, and groups say what they require.
-- Where data was restored over the one row that there is to be, the one that has come furthest stays.
DELETE FROM pgherald.outbox_retention AS r USING pgherald.outbox_retention AS o
WHERE (o.closed, o.trimmed, o.ctid) > (r.closed, r.trimmed, r.ctid);
ALTER TABLE pgherald.outbox_retention ADD COLUMN one boolean PRIMARY KEY DEFAULT true CHECK (one);
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
-- How long a lease lasts from each renewal on. No node is left that has none.
DELETE FROM pgherald.consumer_node;
ALTER TABLE pgherald.consumer_node ADD COLUMN lease interval NOT NULL;
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
-- How the texts of columns are read: a JSON object. Null if all are read as they are.
ALTER TABLE pgherald.outbox_relation ADD COLUMN column_types text;
-- Who may move cursors may store requirements.
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
-- delay: how many seconds due_at was away when it was written; however the clock is set since, it is no more. is_unfiltered: a
-- restore has parked the event before any consumer applied the filter of the group's handler.
ALTER TABLE pgherald.parked_event ADD COLUMN delay float8, ADD COLUMN is_unfiltered boolean NOT NULL DEFAULT false;
-- What was recorded until now is this server's, and groups read on where they were; unless a restore has brought it. Then one
-- transaction has written the rows of several, or a row or several cursors tell of transactions that came after the one that
-- has written them. (An attempt may write its one cursor after later transactions were read.) That history is left unmarked: a
-- new one begins.
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
    -- In a subtransaction, for another id.
    BEGIN
        INSERT INTO pgherald.outbox_history VALUES (identity, 2, cluster, here, 'pgherald.outbox'::regclass, 0);
        UPDATE pgherald.outbox_history SET mark = xmin::text::bigint WHERE number = 2;
    EXCEPTION WHEN raise_exception THEN
        RAISE;
    END;
END
$$;
-- Last, because writers wait from here on.
-- Without one, a publication of all tables has the server refuse that rows are deleted, as after a restore. Costs nothing
-- where rows are only inserted.
ALTER TABLE pgherald.outbox REPLICA IDENTITY FULL;
ALTER TABLE pgherald.outbox_0 REPLICA IDENTITY FULL;
ALTER TABLE pgherald.outbox_1 REPLICA IDENTITY FULL;
ALTER TABLE pgherald.outbox_2 REPLICA IDENTITY FULL;
ALTER TABLE pgherald.outbox_3 REPLICA IDENTITY FULL;
