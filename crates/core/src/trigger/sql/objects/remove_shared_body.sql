DECLARE
    home CONSTANT oid := pg_catalog.to_regnamespace('pgherald');
    -- A table of another owner may have one of these names. The outbox's comment identifies ours or, if it is gone, the columns
    -- of groups do.
    has_outbox CONSTANT boolean := EXISTS (
        SELECT FROM pg_catalog.pg_class
        WHERE relnamespace = home AND relname = 'outbox' AND relkind = 'p'
            AND pg_catalog.obj_description(oid, 'pg_class') LIKE '{"version":%'
    ) OR 3 = (
        SELECT pg_catalog.count(*) FROM pg_catalog.pg_attribute
        WHERE attrelid = pg_catalog.to_regclass('pgherald.consumer_group') AND attname IN ('slices', 'is_paused', 'trimmed')
    );
BEGIN
    IF home IS NULL OR EXISTS (
        SELECT FROM pg_catalog.pg_proc WHERE pronamespace = home AND proname ~ '^notify_[0-9a-f]{16}$'
    ) THEN
        RETURN;
    END IF;
    IF {{spares_groups}} AND has_outbox AND pg_catalog.to_regclass('pgherald.consumer_group') IS NOT NULL THEN
        -- Their unhandled events and dead letters would be removed with the outbox.
        IF EXISTS (SELECT FROM pgherald.consumer_group) THEN
            RETURN;
        END IF;
    END IF;
    IF has_outbox THEN
        DROP VIEW IF EXISTS pgherald.outbox_event, pgherald.consumer_group_status;
        DROP FUNCTION IF EXISTS pgherald.trim_outbox(interval, bigint), pgherald.history(boolean), pgherald.begin_history(),
            pgherald.restored(boolean), pgherald.read_cursor(text);
        DROP TABLE IF EXISTS
            pgherald.outbox, pgherald.outbox_relation, pgherald.outbox_retention, pgherald.outbox_part,
            pgherald.outbox_history, pgherald.server_run,
            pgherald.parked_event, pgherald.consumer_requirement, pgherald.consumer_cursor, pgherald.consumer_slice, pgherald.consumer_node,
            pgherald.consumer_group;
        DROP SEQUENCE IF EXISTS pgherald.outbox_id, pgherald.outbox_clock;
    END IF;
    DROP FUNCTION IF EXISTS pgherald.notify_rows(text, text, text, text, text[], text[], text[]);
    DROP FUNCTION IF EXISTS pgherald.rows_query(
        oid, text, text, text[], text[], text[], integer, text[], boolean, boolean, boolean
    );
    IF pg_catalog.obj_description(home, 'pg_namespace') = {{comment}} AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_depend
        WHERE refclassid = 'pg_catalog.pg_namespace'::regclass AND refobjid = home
    ) THEN
        DROP SCHEMA pgherald;
    END IF;
END
