-- Begins a new history: foreign transaction ids leave the outbox and the cursors. The unread events of a group become parked
-- events, which are handled before newer ones of their key; each group gets one resync for the rest.
--
-- Runs under the lock on outbox_history. Writers continue meanwhile: the new cursors read what they commit.
DECLARE
    -- If this is null, the server that has written the rows of the outbox is the one whose transactions the cursors contain.
    restored_in bigint;
    is_intact boolean;
    here CONSTANT oid := (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database());
    cluster bigint;
    half CONSTANT bigint := 2147483648;
    bound bigint;
    taken bigint;
    c record;
    progress record;
    groups text[] := '{}';
    slices integer[] := '{}';
    counts integer[] := '{}';
    dones pg_snapshot[] := '{}';
    readings pg_snapshot[] := '{}';
    positions bigint[] := '{}';
    new_identity CONSTANT uuid := gen_random_uuid();
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' AND EXISTS (SELECT FROM pgherald.consumer_group) THEN
        RAISE EXCEPTION 'the outbox was restored, and its groups have to be moved in a transaction that is READ COMMITTED'
            USING HINT = 'BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pgherald.history(); COMMIT;';
    END IF;
    IF has_function_privilege('pg_control_system()', 'EXECUTE') THEN
        SELECT s.system_identifier INTO cluster FROM pg_control_system() AS s;
    END IF;
    bound := pg_current_xact_id()::text::bigint;
    -- The transaction in which a restore wrote rows. The rows' own column xid belongs to the dumped server.
    SELECT min(bound + ((h.xmin::text::bigint - bound) % (2 * half) + 3 * half) % (2 * half) - half) INTO restored_in
    FROM pgherald.outbox_history AS h WHERE h.mark <> h.xmin::text::bigint;
    is_intact := EXISTS (
        SELECT FROM pgherald.outbox_history AS h
        WHERE h.mark = h.xmin::text::bigint AND h.database = here AND h.outbox = 'pgherald.outbox'::regclass
            AND coalesce(h.system_identifier = cluster, true)
        GROUP BY h.identity HAVING count(DISTINCT h.mark) = 2
    );

    -- In the order in which consumers write to them. A consumer that holds one has a running attempt, whose acknowledgement
    -- counts.
    FOR c IN
        SELECT f.group_name, f.slice, g.slices, f.cursor FROM pgherald.consumer_cursor AS f
        JOIN pgherald.consumer_group AS g ON g.name = f.group_name
        ORDER BY f.group_name, f.slice FOR UPDATE OF f
    LOOP
        SELECT p.done, p.reading, p.position INTO progress FROM pgherald.read_cursor(c.cursor) AS p;
        -- The cursor cannot be parsed, or it does not belong to this server, while the rows do. It does not show what was read:
        -- everything is handled again.
        IF progress.done IS NULL OR is_intact AND pg_snapshot_xmax(progress.done) > pg_snapshot_xmax(pg_current_snapshot()) THEN
            SELECT '1:1:'::pg_snapshot AS done, NULL::pg_snapshot AS reading, NULL::bigint AS "position" INTO progress;
        END IF;
        dones := dones || progress.done;
        readings := readings || progress.reading;
        positions := positions || progress.position;
        groups := groups || c.group_name;
        slices := slices || c.slice;
        counts := counts || c.slices;
    END LOOP;

    -- New ids come after those in cursors and parked events. Some more are skipped, because other sessions take ids meanwhile.
    SELECT greatest(
        (SELECT o.id FROM pgherald.outbox AS o ORDER BY o.id DESC LIMIT 1),
        (SELECT max(p.id) FROM pgherald.parked_event AS p),
        (SELECT max(p.floor) FROM pgherald.consumer_cursor AS f CROSS JOIN LATERAL pgherald.read_cursor(f.cursor) AS p)
    ) INTO taken;
    IF taken > coalesce(pg_sequence_last_value('pgherald.outbox_id'), 0) THEN
        PERFORM setval('pgherald.outbox_id', taken + 10000);
    END IF;

    -- One statement, hence one snapshot: the new cursors read the rows that it does not see. Their floor is below every id, so
    -- that the order of snapshot and sequence does not matter.
    WITH parked AS (
        INSERT INTO pgherald.parked_event (
            group_name, id, slice, xid, sent_at, relation, hash, operation, key, columns, old_columns, changed, attempts, due_at,
            delay, is_unfiltered
        )
        SELECT r.group_name, o.id, r.slice, o.xid, o.sent_at, o.relation, o.hash, o.operation, o.key, o.columns, o.old_columns,
            o.changed, 0, clock_timestamp(), 0, true
        FROM unnest(groups, slices, counts, dones, readings, positions)
            AS r (group_name, slice, slices, done, reading, position)
        JOIN (
            -- The transaction that has written this version of the row; the id of a subtransaction is greater than `xid`.
            -- The slice is computed once for each number of slices, so that the join is one by equality.
            SELECT w.*, bound + ((w.xmin::text::bigint - bound) % (2 * half) + 3 * half) % (2 * half) - half AS written_in,
                w.xid::text::numeric AS number, n.slices, (w.hash & 2147483647) % n.slices AS slice
            FROM pgherald.outbox AS w CROSS JOIN (SELECT DISTINCT u.slices FROM unnest(counts) AS u (slices)) AS n
            -- Otherwise the planner joins by the condition below, which compares each row with each slice.
            OFFSET 0
        ) AS o ON o.slices = r.slices AND o.slice = r.slice
        WHERE NOT pg_visible_in_snapshot(o.xid, r.done)
                AND (r.reading IS NULL OR o.id > r.position OR NOT pg_visible_in_snapshot(o.xid, r.reading))
                -- A row of another database does not belong to this one.
                AND (o.number <= o.written_in OR NOT is_intact)
            -- Written here after the restore, and not read yet.
            OR NOT is_intact AND o.number >= restored_in AND o.number <= o.written_in
        ON CONFLICT DO NOTHING
    ), gone AS (
        DELETE FROM pgherald.outbox
    ), moved AS (
        UPDATE pgherald.consumer_cursor AS f
        SET cursor = pg_current_snapshot()::text || ' 0 1 ' || (SELECT k.closed FROM pgherald.outbox_retention AS k),
            epoch = f.epoch + 1, generation = 0
        RETURNING f.group_name, f.slice, f.epoch
    )
    UPDATE pgherald.consumer_slice AS s SET node = NULL, epoch = m.epoch
    FROM moved AS m WHERE s.group_name = m.group_name AND s.slice = m.slice;

    DELETE FROM pgherald.consumer_node;
    UPDATE pgherald.outbox_part SET closed = NULL, closed_at = NULL, closed_in = NULL;
    INSERT INTO pgherald.parked_event (group_name, id, slice, sent_at, relation, hash, operation, key, attempts)
    SELECT g.name, -1, 0, clock_timestamp(), 0, 0, 'R', 'restored', 0 FROM pgherald.consumer_group AS g
    ON CONFLICT (group_name, id) DO UPDATE
    SET slice = 0, sent_at = EXCLUDED.sent_at, key = EXCLUDED.key, attempts = 0, error = NULL, due_at = NULL, delay = NULL, dead_at = NULL;
    UPDATE pgherald.consumer_group SET revision = revision + 1;
    PERFORM pg_notify('pgherald_outbox', 'control ' || g.name) FROM pgherald.consumer_group AS g;

    DELETE FROM pgherald.outbox_history;
    INSERT INTO pgherald.outbox_history (identity, number, system_identifier, database, outbox, mark)
    VALUES (new_identity, 1, cluster, here, 'pgherald.outbox'::regclass, 0);
    UPDATE pgherald.outbox_history SET mark = xmin::text::bigint WHERE number = 1;
    -- In a subtransaction, to get another id: a restore writes both rows in one transaction, so at most one keeps its mark.
    BEGIN
        INSERT INTO pgherald.outbox_history (identity, number, system_identifier, database, outbox, mark)
        VALUES (new_identity, 2, cluster, here, 'pgherald.outbox'::regclass, 0);
        UPDATE pgherald.outbox_history SET mark = xmin::text::bigint WHERE number = 2;
    EXCEPTION WHEN raise_exception THEN
        RAISE;
    END;
END
