-- Empties parts of the outbox whose rows are older than `keep` and were read by all groups, or the oldest parts if the
-- outbox has more bytes than `max_bytes`. Makes writers move to the next part in time. Returns the number of emptied parts.
--
-- Waits for no session: a part that is in use is left for the next time.
DECLARE
    emptied integer := 0;
    clock bigint;
    written smallint;
    following smallint;
    p pgherald.outbox_part;
    name text;
    found_one boolean;
    oldest timestamptz;
BEGIN
    -- Restored rows would never be trimmed, because their transactions belong to another server.
    PERFORM pgherald.history();
    -- One session trims at a time. The lock is on a row that only roles with the right to write it can lock.
    PERFORM FROM pgherald.outbox_retention FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    clock := coalesce(pg_sequence_last_value('pgherald.outbox_clock'), 0);
    written := clock & 3;
    following := (clock + 1) & 3;

    FOR p IN SELECT * FROM pgherald.outbox_part WHERE part <> written AND closed IS NULL ORDER BY part LOOP
        name := 'pgherald.outbox_' || p.part;
        EXECUTE 'SELECT EXISTS (SELECT FROM ' || name || ')' INTO found_one;
        CONTINUE WHEN NOT found_one;
        BEGIN
            -- Granted if no open transaction has written to the part.
            EXECUTE 'LOCK TABLE ' || name || ' IN SHARE MODE NOWAIT';
        EXCEPTION WHEN lock_not_available THEN
            CONTINUE;
        END;
        UPDATE pgherald.outbox_retention SET closed = closed + 1;
        -- This statement begins, and takes its snapshot, after the lock.
        UPDATE pgherald.outbox_part
        SET closed = (SELECT r.closed FROM pgherald.outbox_retention AS r), closed_at = clock_timestamp(),
            closed_in = pg_current_snapshot()
        WHERE part = p.part;
    END LOOP;

    -- The clock was set back since: the time of these parts begins now.
    UPDATE pgherald.outbox_part SET closed_at = clock_timestamp() WHERE closed_at > clock_timestamp();

    FOR p IN SELECT * FROM pgherald.outbox_part WHERE closed IS NOT NULL ORDER BY closed LOOP
        EXIT WHEN (
            p.closed_at > clock_timestamp() - keep OR EXISTS (
                -- A slice whose cursor cannot be parsed reads everything again.
                SELECT FROM pgherald.consumer_cursor AS c CROSS JOIN LATERAL pgherald.read_cursor(c.cursor) AS r
                WHERE coalesce(r.closed < p.closed, true)
            )
        ) AND max_bytes >= (
            SELECT sum(pg_total_relation_size(i.inhrelid))
            FROM pg_inherits AS i WHERE i.inhparent = 'pgherald.outbox'::regclass
        );
        name := 'pgherald.outbox_' || p.part;
        BEGIN
            EXECUTE 'LOCK TABLE ' || name || ' IN ACCESS EXCLUSIVE MODE NOWAIT';
        EXCEPTION WHEN lock_not_available THEN
            EXIT;
        END;
        -- A writer may have read the clock before the closing, and written afterwards.
        EXECUTE 'SELECT EXISTS (SELECT FROM ' || name
            || ' WHERE xid >= pg_snapshot_xmax($1) OR xid = ANY (ARRAY(SELECT pg_snapshot_xip($1))))'
            INTO found_one USING p.closed_in;
        IF NOT found_one THEN
            EXECUTE 'TRUNCATE ' || name;
            UPDATE pgherald.outbox_retention SET trimmed = p.closed;
            emptied := emptied + 1;
        END IF;
        UPDATE pgherald.outbox_part SET closed = NULL, closed_at = NULL, closed_in = NULL WHERE part = p.part;
    END LOOP;

    EXECUTE 'SELECT EXISTS (SELECT FROM pgherald.outbox_' || following || ')' INTO found_one;
    IF NOT found_one THEN
        EXECUTE 'SELECT sent_at FROM pgherald.outbox_' || written || ' ORDER BY id LIMIT 1' INTO oldest;
        -- A row with a future time was written before the clock was set back.
        IF oldest < clock_timestamp() - keep / 2 OR oldest > clock_timestamp()
            OR pg_total_relation_size(('pgherald.outbox_' || written)::regclass) > max_bytes / 4
        THEN
            clock := coalesce(pg_sequence_last_value('pgherald.outbox_clock'), 0);
            PERFORM setval('pgherald.outbox_clock', (clock & ~3::bigint) | following);
        END IF;
    END IF;
    RETURN emptied;
END
