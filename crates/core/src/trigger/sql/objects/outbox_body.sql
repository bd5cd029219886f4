-- Records the changes of one table in the outbox, and wakes up its readers.
--
-- Runs with its owner's rights under the writer's search_path: every function, operator, type and table is qualified.
--
-- Columns are written without their table, because t.x is a call of function x once there is no column x. Hence the
-- names of the variables, which no column has.
--
-- No exception block surrounds a write: each statement would take a transaction id of its own, and snapshots hold 64 of them
-- for a session. So everything that may have changed since the installation is checked before.
#variable_conflict use_column
DECLARE
    pgherald_clock pg_catalog.int8;
    pgherald_now pg_catalog.int8;
    pgherald_count pg_catalog.int8;
{{declarations}}BEGIN{{guard}}
    -- Each expression and each query costs the writer: the clock is read without a query.
    pgherald_clock := coalesce(
        pg_catalog.pg_sequence_last_value('pgherald.outbox_clock'::pg_catalog.regclass), 0
    );
    {{record}}
    -- At most every 50 ms, all writers together, because NOTIFY makes them commit one after the other. A reader that
    -- has read something keeps polling for longer than that.
    IF (FOUND OR pgherald_count OPERATOR(pg_catalog.>) 0){{unless_woken}} AND pg_catalog.abs(
        pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) OPERATOR(pg_catalog.*) 4000
            OPERATOR(pg_catalog.-) pgherald_clock
    ) OPERATOR(pg_catalog.>=) 200 THEN
        pgherald_now := pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) OPERATOR(pg_catalog.*) 1000;
        PERFORM pg_catalog.setval(
            'pgherald.outbox_clock'::pg_catalog.regclass,
            (pgherald_now OPERATOR(pg_catalog.<<) 2)
                OPERATOR(pg_catalog.|) (pgherald_clock OPERATOR(pg_catalog.&) 3)
        );
        PERFORM pg_catalog.pg_notify('pgherald_outbox', '');{{woken}}
    END IF;
    RETURN NULL;
END
