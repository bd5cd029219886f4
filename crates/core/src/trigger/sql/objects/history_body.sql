-- The history of cursors and transaction ids: `identity` is that of the outbox, `runs` are those of the server, the
-- newest last. A reader that remembers an identity and a run may continue from its cursor if the identity is the same and the
-- run is among these.
--
-- Records what has happened to the server, and nothing that a caller chooses: so every role that may use the schema may
-- execute it. Writes only if something has changed.
#variable_conflict use_column
DECLARE
    started CONSTANT timestamptz := pg_postmaster_start_time();
    reason text;
BEGIN
    reason := pgherald.restored(with_cursors);
    IF reason IS NOT NULL THEN
        -- Only the first caller does this.
        LOCK TABLE pgherald.outbox_history IN EXCLUSIVE MODE;
        reason := pgherald.restored(with_cursors);
        IF reason IS NOT NULL THEN
            PERFORM pgherald.begin_history();
            RAISE LOG 'pgherald begins a new history of the outbox: %', reason;
        END IF;
    END IF;
    -- A crash, a promotion and the restore of a base backup empty this table, which is unlogged: after them the server may
    -- assign transaction ids again that readers have seen. A shutdown keeps the table, with the runs until then. A data
    -- directory that was put back lacks the runs after its copy was made.
    IF NOT EXISTS (SELECT FROM pgherald.server_run AS r WHERE r.started_at = started) THEN
        INSERT INTO pgherald.server_run AS r (started_at, runs) VALUES (started, ARRAY[gen_random_uuid()])
        ON CONFLICT (one) DO UPDATE
        SET started_at = EXCLUDED.started_at, runs = (r.runs || EXCLUDED.runs)[greatest(1, cardinality(r.runs) - 98):]
        WHERE r.started_at <> EXCLUDED.started_at;
    END IF;
    SELECT h.identity, r.runs INTO STRICT identity, runs
    FROM pgherald.outbox_history AS h CROSS JOIN pgherald.server_run AS r LIMIT 1;
END
