-- What version 1 installed to record table jobs (id int PRIMARY KEY, value bigint).
BEGIN;
-- Names are the server's own, whatever others have put on the search path; which is put aside as well.
SELECT pg_catalog.set_config('pgherald.search_path', pg_catalog.current_setting('search_path'), true);
SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
-- One installer at a time; the lock goes with the transaction.
SELECT pg_catalog.pg_advisory_xact_lock(8099557239769099364);
-- Rather give up than be the end of a deadlock that PostgreSQL solves by failing somebody's write. Puts
-- aside what the session has, in milliseconds, for the rest of a transaction that this joins.
SELECT
    pg_catalog.set_config('pgherald.lock_timeout', own.setting, true),
    pg_catalog.set_config(
        'lock_timeout', least(nullif(own.setting::int4, 0), 500, greatest(1, d.setting::int4 / 2))::text, true
    )
FROM pg_catalog.pg_settings AS own, pg_catalog.pg_settings AS d
WHERE own.name = 'lock_timeout' AND d.name = 'deadlock_timeout';
CREATE SCHEMA IF NOT EXISTS pgherald;
COMMENT ON SCHEMA pgherald IS 'Made by pgherald; it goes when the last table is uninstalled.';
-- Packs the rows of one statement into payloads that pg_notify accepts, and sends them.
--
--   channel   where to
--   operation TG_OP
--   relation  the JSON members "schema" and "table"
--   key       JSON array of the key's column names; null asks for a payload about the whole table
--   keys      the key of each row as JSON; a null element is a key too large to send
--   cols      the extra columns of each row as JSON, null where too large; null if none are wanted
--   old_keys  of an UPDATE: the keys before it
--
-- Inherits search_path from the trigger functions, its only callers.
CREATE OR REPLACE FUNCTION pgherald.notify_rows(
    channel text, operation text, relation text, key text, keys text[], cols text[], old_keys text[]
) RETURNS void LANGUAGE plpgsql AS $pgherald$
#variable_conflict use_variable
DECLARE
    -- pg_notify refuses 8,000 bytes and more, counted in the server's encoding.
    max_bytes CONSTANT integer := 7999;
    max_rows CONSTANT integer := 1000;
    middle CONSTANT text := CASE WHEN cols IS NULL THEN '' ELSE '],"columns":[' END;
    -- Also tells equal payloads of one transaction apart, of which PostgreSQL would send only the first.
    sent_at CONSTANT timestamptz := clock_timestamp();
    head text;
    rows_head text;
    payload text;
    room integer;
    needed integer;
    used integer := 0;
    k text;
    c text;
    ks text;
    cs text;
BEGIN
    IF key IS NOT NULL AND keys IS NULL AND old_keys IS NULL THEN
        RETURN;  -- the statement touched no row
    END IF;
    head := '{"v":1,"operation":"' || lower(operation) || '",' || relation
        || ',"sent_at":"' || to_char(sent_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US')
        || '+00:00","xid":' || pg_current_xact_id()::text;

    IF key IS NULL
        OR cardinality(keys) > max_rows OR array_position(keys, NULL) IS NOT NULL
        OR cardinality(old_keys) > max_rows OR array_position(old_keys, NULL) IS NOT NULL
    THEN
        PERFORM pg_notify(channel, head || '}');
        RETURN;
    END IF;
    keys := coalesce(keys, '{}');

    -- A key without a unique index may repeat: each pair of key and columns is sent once.
    IF cardinality(keys) > 1 THEN
        SELECT array_agg(d.k ORDER BY d.n), array_agg(d.c ORDER BY d.n) INTO keys, cols
        FROM (
            SELECT u.k, u.c, min(u.n) AS n
            FROM unnest(keys, cols) WITH ORDINALITY AS u (k, c, n)
            GROUP BY u.k, u.c
        ) AS d;
    END IF;

    -- An UPDATE of the key itself: the rows known under the old keys are gone.
    IF old_keys <> keys THEN
        SELECT keys || array_agg(g.k), cols || array_fill(NULL::text, ARRAY[count(*)::integer])
        INTO keys, cols
        FROM (SELECT u.k FROM unnest(old_keys) AS u (k) EXCEPT SELECT u.k FROM unnest(keys) AS u (k)) AS g;
    END IF;

    rows_head := head || ',"key":' || key || ',"keys":[';
    payload := rows_head || array_to_string(keys, ',')
        || CASE WHEN middle = '' THEN '' ELSE middle || array_to_string(cols, ',', 'null') END || ']}';
    IF octet_length(payload) <= max_bytes THEN
        PERFORM pg_notify(channel, payload);
        RETURN;
    END IF;

    -- One payload does not hold them: fill as many as it takes, unless a key alone is too large.
    room := max_bytes - octet_length(rows_head || middle || ']}');
    needed := (SELECT max(octet_length(u.k)) FROM unnest(keys) AS u (k));
    IF needed + (CASE WHEN middle = '' THEN 0 ELSE octet_length('null') END) > room THEN
        PERFORM pg_notify(channel, head || '}');
        RETURN;
    END IF;
    FOR k, c IN SELECT u.k, u.c FROM unnest(keys, cols) AS u (k, c) LOOP
        IF middle = '' THEN
            c := '';
        ELSIF c IS NULL OR octet_length(k || c) > room THEN
            c := 'null';
        END IF;
        needed := octet_length(k || c);
        IF used > 0 AND used + needed + 2 > room THEN
            PERFORM pg_notify(
                channel, rows_head || ks || (CASE WHEN middle = '' THEN '' ELSE middle || cs END) || ']}'
            );
            used := 0;
        END IF;
        IF used = 0 THEN
            ks := k;
            cs := c;
            used := needed;
        ELSE
            ks := ks || ',' || k;
            cs := cs || ',' || c;
            used := used + needed + 2;  -- two commas
        END IF;
    END LOOP;
    PERFORM pg_notify(
        channel, rows_head || ks || (CASE WHEN middle = '' THEN '' ELSE middle || cs END) || ']}'
    );
END
$pgherald$;
REVOKE ALL ON FUNCTION pgherald.notify_rows(text, text, text, text, text[], text[], text[])
    FROM PUBLIC;
COMMENT ON FUNCTION pgherald.notify_rows(text, text, text, text, text[], text[], text[])
    IS '{"version":1}';
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
COMMENT ON TABLE pgherald.outbox IS '{"version":1}';
-- How far the outbox was emptied, and what is to be kept. A part is closed when it is no longer written to; closings are
-- counted. Whoever sees closing n in a snapshot sees every row of that part.
CREATE TABLE pgherald.outbox_retention (
    closed bigint NOT NULL,
    -- The last closing whose part was emptied.
    trimmed bigint NOT NULL,
    keep interval NOT NULL,
    max_bytes bigint NOT NULL
);
INSERT INTO pgherald.outbox_retention VALUES (0, 0, '1 day', 10737418240);
CREATE TABLE pgherald.outbox_part (
    part smallint PRIMARY KEY,
    closed bigint,
    closed_at timestamptz,
    closed_in pg_snapshot
);
INSERT INTO pgherald.outbox_part (part) VALUES (0), (1), (2), (3);
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
CREATE FUNCTION pgherald.trim_outbox(keep interval, max_bytes bigint) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $pgherald$
-- Empties parts of the outbox whose rows are older than `keep` and were read by all groups, or the oldest ones if all of
-- it has more bytes than `max_bytes`; and has the next part written to in time. Returns how many parts were emptied.
--
-- Waits for nobody: what is in use is left for the next time.
DECLARE
    emptied integer := 0;
    written smallint;
    following smallint;
    p pgherald.outbox_part;
    name text;
    found_one boolean;
    oldest timestamptz;
BEGIN
    IF NOT pg_try_advisory_xact_lock(8099557239769099365) THEN
        RETURN 0;
    END IF;
    SELECT c.last_value & 3, (c.last_value + 1) & 3 INTO written, following FROM pgherald.outbox_clock AS c;

    FOR p IN SELECT * FROM pgherald.outbox_part WHERE part <> written AND closed IS NULL ORDER BY part LOOP
        name := 'pgherald.outbox_' || p.part;
        EXECUTE 'SELECT EXISTS (SELECT FROM ' || name || ')' INTO found_one;
        CONTINUE WHEN NOT found_one;
        BEGIN
            -- Had when nobody is under way who has written to it.
            EXECUTE 'LOCK TABLE ' || name || ' IN SHARE MODE NOWAIT';
        EXCEPTION WHEN lock_not_available THEN
            CONTINUE;
        END;
        UPDATE pgherald.outbox_retention SET closed = closed + 1;
        -- The snapshot of a statement that begins after the lock.
        UPDATE pgherald.outbox_part
        SET closed = (SELECT r.closed FROM pgherald.outbox_retention AS r), closed_at = clock_timestamp(),
            closed_in = pg_current_snapshot()
        WHERE part = p.part;
    END LOOP;

    FOR p IN SELECT * FROM pgherald.outbox_part WHERE closed IS NOT NULL ORDER BY closed LOOP
        EXIT WHEN (
            p.closed_at > clock_timestamp() - keep OR EXISTS (
                -- The fourth word of a cursor is the last closing that was visible.
                SELECT FROM pgherald.consumer_cursor AS c WHERE split_part(c.cursor, ' ', 4)::bigint < p.closed
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
        -- Somebody may have looked at the clock before, and written afterwards.
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
        IF oldest < clock_timestamp() - keep / 2
            OR pg_total_relation_size(('pgherald.outbox_' || written)::regclass) > max_bytes / 4
        THEN
            PERFORM setval('pgherald.outbox_clock', (c.last_value & ~3) | following) FROM pgherald.outbox_clock AS c;
        END IF;
    END IF;
    RETURN emptied;
END
$pgherald$;
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
CREATE VIEW pgherald.consumer_group_status AS
    SELECT g.name, g.slices, g.is_paused,
        (SELECT count(*) FROM pgherald.consumer_node AS n
            WHERE n.group_name = g.name AND n.lease_until > clock_timestamp()) AS nodes,
        coalesce(l.events, 0) AS lag_events,
        coalesce(greatest(extract(epoch FROM clock_timestamp()) - extract(epoch FROM l.oldest), 0), 0)::float8 AS lag_seconds,
        (SELECT count(*) FROM pgherald.parked_event AS p
            WHERE p.group_name = g.name AND p.dead_at IS NULL) AS parked,
        (SELECT count(*) FROM pgherald.parked_event AS p
            WHERE p.group_name = g.name AND p.dead_at IS NOT NULL) AS dead_letters
    FROM pgherald.consumer_group AS g
    -- What is visible now, and was not when the slice had been read up to its cursor.
    LEFT JOIN LATERAL (
        SELECT count(*) AS events, min(o.sent_at) AS oldest
        FROM (
            SELECT c.slice, split_part(c.cursor, ' ', 1)::pg_snapshot AS done,
                nullif(split_part(c.cursor, ' ', 5), '')::pg_snapshot AS reading,
                nullif(split_part(c.cursor, ' ', 9), '')::bigint AS position
            FROM pgherald.consumer_cursor AS c WHERE c.group_name = g.name
            OFFSET 0
        ) AS r
        JOIN pgherald.outbox AS o ON (o.hash & 2147483647) % g.slices = r.slice
        WHERE o.xid >= (
                SELECT pg_snapshot_xmin(split_part(c.cursor, ' ', 1)::pg_snapshot) AS oldest
                FROM pgherald.consumer_cursor AS c WHERE c.group_name = g.name ORDER BY oldest LIMIT 1
            )
            AND NOT pg_visible_in_snapshot(o.xid, r.done)
            AND (r.reading IS NULL OR o.id > r.position OR NOT pg_visible_in_snapshot(o.xid, r.reading))
    ) AS l ON true;
INSERT INTO pgherald.outbox_relation (id, schema_name, table_name, key_columns)
    VALUES (-1044588126668863195, 'public', 'jobs', '["id"]') ON CONFLICT DO NOTHING;
CREATE OR REPLACE FUNCTION pgherald.notify_5014b5e10750208c() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
AS $pgherald$
-- Records the changes of one table in the outbox, and wakes up those who read it.
--
-- Runs with its owner's rights under the writer's search_path: every function, operator, type and table is qualified.
--
-- Columns are written without their table: once no column x is left, t.x is a call of function x. Hence the
-- names of the variables, which no column has.
#variable_conflict use_column
DECLARE
    pgherald_clock pg_catalog.int8;
    pgherald_now pg_catalog.int8;
BEGIN
    -- Each expression and each query costs the writer: the clock is read without a query.
    pgherald_clock := coalesce(
        pg_catalog.pg_sequence_last_value('pgherald.outbox_clock'::pg_catalog.regclass), 0
    );
    BEGIN
        IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
            IF (pgherald_clock OPERATOR(pg_catalog.&) 3) OPERATOR(pg_catalog.=) 0 THEN
                INSERT INTO pgherald.outbox_0 (relation, hash, part, operation, key, columns, old_columns, changed)
                SELECT -1044588126668863195, pg_catalog.hashtext(r.k), 0,
                    'U'::pg_catalog."char", r.k, r.c, r.o, r.d
                FROM (
                -- All of them known under the one key as before, which is most often one row: as cheap as can be, for each
                -- writer pays for it.
                SELECT pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text AS k, '{"id":' OPERATOR(pg_catalog.||) pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text OPERATOR(pg_catalog.||) ',"value":' OPERATOR(pg_catalog.||) coalesce((CASE WHEN "value" IS DISTINCT FROM NULL THEN pg_catalog.concat("value") END)::pg_catalog.int8::pg_catalog.text, 'null') OPERATOR(pg_catalog.||) '}' AS c, NULL::pg_catalog.text AS o, NULL::pg_catalog.text[] AS d FROM pgherald_new
                WHERE NOT EXISTS (
                    SELECT FROM pgherald_old
                    WHERE (("id") OPERATOR(pg_catalog.=) (SELECT "id" FROM pgherald_new LIMIT 1)) IS NOT TRUE
                )) AS r;

            ELSIF (pgherald_clock OPERATOR(pg_catalog.&) 3) OPERATOR(pg_catalog.=) 1 THEN
                INSERT INTO pgherald.outbox_1 (relation, hash, part, operation, key, columns, old_columns, changed)
                SELECT -1044588126668863195, pg_catalog.hashtext(r.k), 1,
                    'U'::pg_catalog."char", r.k, r.c, r.o, r.d
                FROM (
                -- All of them known under the one key as before, which is most often one row: as cheap as can be, for each
                -- writer pays for it.
                SELECT pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text AS k, '{"id":' OPERATOR(pg_catalog.||) pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text OPERATOR(pg_catalog.||) ',"value":' OPERATOR(pg_catalog.||) coalesce((CASE WHEN "value" IS DISTINCT FROM NULL THEN pg_catalog.concat("value") END)::pg_catalog.int8::pg_catalog.text, 'null') OPERATOR(pg_catalog.||) '}' AS c, NULL::pg_catalog.text AS o, NULL::pg_catalog.text[] AS d FROM pgherald_new
                WHERE NOT EXISTS (
                    SELECT FROM pgherald_old
                    WHERE (("id") OPERATOR(pg_catalog.=) (SELECT "id" FROM pgherald_new LIMIT 1)) IS NOT TRUE
                )) AS r;

            ELSIF (pgherald_clock OPERATOR(pg_catalog.&) 3) OPERATOR(pg_catalog.=) 2 THEN
                INSERT INTO pgherald.outbox_2 (relation, hash, part, operation, key, columns, old_columns, changed)
                SELECT -1044588126668863195, pg_catalog.hashtext(r.k), 2,
                    'U'::pg_catalog."char", r.k, r.c, r.o, r.d
                FROM (
                -- All of them known under the one key as before, which is most often one row: as cheap as can be, for each
                -- writer pays for it.
                SELECT pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text AS k, '{"id":' OPERATOR(pg_catalog.||) pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text OPERATOR(pg_catalog.||) ',"value":' OPERATOR(pg_catalog.||) coalesce((CASE WHEN "value" IS DISTINCT FROM NULL THEN pg_catalog.concat("value") END)::pg_catalog.int8::pg_catalog.text, 'null') OPERATOR(pg_catalog.||) '}' AS c, NULL::pg_catalog.text AS o, NULL::pg_catalog.text[] AS d FROM pgherald_new
                WHERE NOT EXISTS (
                    SELECT FROM pgherald_old
                    WHERE (("id") OPERATOR(pg_catalog.=) (SELECT "id" FROM pgherald_new LIMIT 1)) IS NOT TRUE
                )) AS r;

            ELSE
                INSERT INTO pgherald.outbox_3 (relation, hash, part, operation, key, columns, old_columns, changed)
                SELECT -1044588126668863195, pg_catalog.hashtext(r.k), 3,
                    'U'::pg_catalog."char", r.k, r.c, r.o, r.d
                FROM (
                -- All of them known under the one key as before, which is most often one row: as cheap as can be, for each
                -- writer pays for it.
                SELECT pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text AS k, '{"id":' OPERATOR(pg_catalog.||) pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text OPERATOR(pg_catalog.||) ',"value":' OPERATOR(pg_catalog.||) coalesce((CASE WHEN "value" IS DISTINCT FROM NULL THEN pg_catalog.concat("value") END)::pg_catalog.int8::pg_catalog.text, 'null') OPERATOR(pg_catalog.||) '}' AS c, NULL::pg_catalog.text AS o, NULL::pg_catalog.text[] AS d FROM pgherald_new
                WHERE NOT EXISTS (
                    SELECT FROM pgherald_old
                    WHERE (("id") OPERATOR(pg_catalog.=) (SELECT "id" FROM pgherald_new LIMIT 1)) IS NOT TRUE
                )) AS r;

            END IF;
            IF NOT FOUND THEN
                IF (pgherald_clock OPERATOR(pg_catalog.&) 3) OPERATOR(pg_catalog.=) 0 THEN
                INSERT INTO pgherald.outbox_0 (relation, hash, part, operation, key, columns, old_columns, changed)
                SELECT -1044588126668863195, pg_catalog.hashtext(r.k), 0,
                    'U'::pg_catalog."char", r.k, r.c, r.o, r.d
                FROM (
                SELECT coalesce(n.k, o.k) AS k, n.c, NULL::pg_catalog.text AS o, NULL::pg_catalog.text[] AS d
                FROM (SELECT pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text AS k, '{"id":' OPERATOR(pg_catalog.||) pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text OPERATOR(pg_catalog.||) ',"value":' OPERATOR(pg_catalog.||) coalesce((CASE WHEN "value" IS DISTINCT FROM NULL THEN pg_catalog.concat("value") END)::pg_catalog.int8::pg_catalog.text, 'null') OPERATOR(pg_catalog.||) '}' AS c, "id" AS w0 FROM pgherald_new) AS n
                -- What was known under another key is gone. A full join is never a nested loop, which a plan made for
                -- one row would be, and which would take the square of the time for many.
                FULL JOIN (SELECT pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text AS k, "id" AS w0 FROM pgherald_old) AS o ON n.w0 OPERATOR(pg_catalog.=) o.w0) AS r;

            ELSIF (pgherald_clock OPERATOR(pg_catalog.&) 3) OPERATOR(pg_catalog.=) 1 THEN
                INSERT INTO pgherald.outbox_1 (relation, hash, part, operation, key, columns, old_columns, changed)
                SELECT -1044588126668863195, pg_catalog.hashtext(r.k), 1,
                    'U'::pg_catalog."char", r.k, r.c, r.o, r.d
                FROM (
                SELECT coalesce(n.k, o.k) AS k, n.c, NULL::pg_catalog.text AS o, NULL::pg_catalog.text[] AS d
                FROM (SELECT pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text AS k, '{"id":' OPERATOR(pg_catalog.||) pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text OPERATOR(pg_catalog.||) ',"value":' OPERATOR(pg_catalog.||) coalesce((CASE WHEN "value" IS DISTINCT FROM NULL THEN pg_catalog.concat("value") END)::pg_catalog.int8::pg_catalog.text, 'null') OPERATOR(pg_catalog.||) '}' AS c, "id" AS w0 FROM pgherald_new) AS n
                -- What was known under another key is gone. A full join is never a nested loop, which a plan made for
                -- one row would be, and which would take the square of the time for many.
                FULL JOIN (SELECT pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text AS k, "id" AS w0 FROM pgherald_old) AS o ON n.w0 OPERATOR(pg_catalog.=) o.w0) AS r;

            ELSIF (pgherald_clock OPERATOR(pg_catalog.&) 3) OPERATOR(pg_catalog.=) 2 THEN
                INSERT INTO pgherald.outbox_2 (relation, hash, part, operation, key, columns, old_columns, changed)
                SELECT -1044588126668863195, pg_catalog.hashtext(r.k), 2,
                    'U'::pg_catalog."char", r.k, r.c, r.o, r.d
                FROM (
                SELECT coalesce(n.k, o.k) AS k, n.c, NULL::pg_catalog.text AS o, NULL::pg_catalog.text[] AS d
                FROM (SELECT pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text AS k, '{"id":' OPERATOR(pg_catalog.||) pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text OPERATOR(pg_catalog.||) ',"value":' OPERATOR(pg_catalog.||) coalesce((CASE WHEN "value" IS DISTINCT FROM NULL THEN pg_catalog.concat("value") END)::pg_catalog.int8::pg_catalog.text, 'null') OPERATOR(pg_catalog.||) '}' AS c, "id" AS w0 FROM pgherald_new) AS n
                -- What was known under another key is gone. A full join is never a nested loop, which a plan made for
                -- one row would be, and which would take the square of the time for many.
                FULL JOIN (SELECT pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text AS k, "id" AS w0 FROM pgherald_old) AS o ON n.w0 OPERATOR(pg_catalog.=) o.w0) AS r;

            ELSE
                INSERT INTO pgherald.outbox_3 (relation, hash, part, operation, key, columns, old_columns, changed)
                SELECT -1044588126668863195, pg_catalog.hashtext(r.k), 3,
                    'U'::pg_catalog."char", r.k, r.c, r.o, r.d
                FROM (
                SELECT coalesce(n.k, o.k) AS k, n.c, NULL::pg_catalog.text AS o, NULL::pg_catalog.text[] AS d
                FROM (SELECT pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text AS k, '{"id":' OPERATOR(pg_catalog.||) pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text OPERATOR(pg_catalog.||) ',"value":' OPERATOR(pg_catalog.||) coalesce((CASE WHEN "value" IS DISTINCT FROM NULL THEN pg_catalog.concat("value") END)::pg_catalog.int8::pg_catalog.text, 'null') OPERATOR(pg_catalog.||) '}' AS c, "id" AS w0 FROM pgherald_new) AS n
                -- What was known under another key is gone. A full join is never a nested loop, which a plan made for
                -- one row would be, and which would take the square of the time for many.
                FULL JOIN (SELECT pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text AS k, "id" AS w0 FROM pgherald_old) AS o ON n.w0 OPERATOR(pg_catalog.=) o.w0) AS r;

            END IF;
            END IF;
        ELSIF TG_OP OPERATOR(pg_catalog.=) 'INSERT' THEN
            IF (pgherald_clock OPERATOR(pg_catalog.&) 3) OPERATOR(pg_catalog.=) 0 THEN
                INSERT INTO pgherald.outbox_0 (relation, hash, part, operation, key, columns, old_columns, changed)
                SELECT -1044588126668863195, pg_catalog.hashtext(r.k), 0,
                    'I'::pg_catalog."char", r.k, r.c, r.o, r.d
                FROM (SELECT pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text AS k, '{"id":' OPERATOR(pg_catalog.||) pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text OPERATOR(pg_catalog.||) ',"value":' OPERATOR(pg_catalog.||) coalesce((CASE WHEN "value" IS DISTINCT FROM NULL THEN pg_catalog.concat("value") END)::pg_catalog.int8::pg_catalog.text, 'null') OPERATOR(pg_catalog.||) '}' AS c, NULL::pg_catalog.text AS o, NULL::pg_catalog.text[] AS d FROM pgherald_new) AS r;

            ELSIF (pgherald_clock OPERATOR(pg_catalog.&) 3) OPERATOR(pg_catalog.=) 1 THEN
                INSERT INTO pgherald.outbox_1 (relation, hash, part, operation, key, columns, old_columns, changed)
                SELECT -1044588126668863195, pg_catalog.hashtext(r.k), 1,
                    'I'::pg_catalog."char", r.k, r.c, r.o, r.d
                FROM (SELECT pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text AS k, '{"id":' OPERATOR(pg_catalog.||) pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text OPERATOR(pg_catalog.||) ',"value":' OPERATOR(pg_catalog.||) coalesce((CASE WHEN "value" IS DISTINCT FROM NULL THEN pg_catalog.concat("value") END)::pg_catalog.int8::pg_catalog.text, 'null') OPERATOR(pg_catalog.||) '}' AS c, NULL::pg_catalog.text AS o, NULL::pg_catalog.text[] AS d FROM pgherald_new) AS r;

            ELSIF (pgherald_clock OPERATOR(pg_catalog.&) 3) OPERATOR(pg_catalog.=) 2 THEN
                INSERT INTO pgherald.outbox_2 (relation, hash, part, operation, key, columns, old_columns, changed)
                SELECT -1044588126668863195, pg_catalog.hashtext(r.k), 2,
                    'I'::pg_catalog."char", r.k, r.c, r.o, r.d
                FROM (SELECT pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text AS k, '{"id":' OPERATOR(pg_catalog.||) pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text OPERATOR(pg_catalog.||) ',"value":' OPERATOR(pg_catalog.||) coalesce((CASE WHEN "value" IS DISTINCT FROM NULL THEN pg_catalog.concat("value") END)::pg_catalog.int8::pg_catalog.text, 'null') OPERATOR(pg_catalog.||) '}' AS c, NULL::pg_catalog.text AS o, NULL::pg_catalog.text[] AS d FROM pgherald_new) AS r;

            ELSE
                INSERT INTO pgherald.outbox_3 (relation, hash, part, operation, key, columns, old_columns, changed)
                SELECT -1044588126668863195, pg_catalog.hashtext(r.k), 3,
                    'I'::pg_catalog."char", r.k, r.c, r.o, r.d
                FROM (SELECT pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text AS k, '{"id":' OPERATOR(pg_catalog.||) pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text OPERATOR(pg_catalog.||) ',"value":' OPERATOR(pg_catalog.||) coalesce((CASE WHEN "value" IS DISTINCT FROM NULL THEN pg_catalog.concat("value") END)::pg_catalog.int8::pg_catalog.text, 'null') OPERATOR(pg_catalog.||) '}' AS c, NULL::pg_catalog.text AS o, NULL::pg_catalog.text[] AS d FROM pgherald_new) AS r;

            END IF;
        ELSIF TG_OP OPERATOR(pg_catalog.=) 'DELETE' THEN
            IF (pgherald_clock OPERATOR(pg_catalog.&) 3) OPERATOR(pg_catalog.=) 0 THEN
                INSERT INTO pgherald.outbox_0 (relation, hash, part, operation, key, columns, old_columns, changed)
                SELECT -1044588126668863195, pg_catalog.hashtext(r.k), 0,
                    'D'::pg_catalog."char", r.k, r.c, r.o, r.d
                FROM (SELECT pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text AS k, '{"id":' OPERATOR(pg_catalog.||) pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text OPERATOR(pg_catalog.||) ',"value":' OPERATOR(pg_catalog.||) coalesce((CASE WHEN "value" IS DISTINCT FROM NULL THEN pg_catalog.concat("value") END)::pg_catalog.int8::pg_catalog.text, 'null') OPERATOR(pg_catalog.||) '}' AS c, NULL::pg_catalog.text AS o, NULL::pg_catalog.text[] AS d FROM pgherald_old) AS r;

            ELSIF (pgherald_clock OPERATOR(pg_catalog.&) 3) OPERATOR(pg_catalog.=) 1 THEN
                INSERT INTO pgherald.outbox_1 (relation, hash, part, operation, key, columns, old_columns, changed)
                SELECT -1044588126668863195, pg_catalog.hashtext(r.k), 1,
                    'D'::pg_catalog."char", r.k, r.c, r.o, r.d
                FROM (SELECT pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text AS k, '{"id":' OPERATOR(pg_catalog.||) pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text OPERATOR(pg_catalog.||) ',"value":' OPERATOR(pg_catalog.||) coalesce((CASE WHEN "value" IS DISTINCT FROM NULL THEN pg_catalog.concat("value") END)::pg_catalog.int8::pg_catalog.text, 'null') OPERATOR(pg_catalog.||) '}' AS c, NULL::pg_catalog.text AS o, NULL::pg_catalog.text[] AS d FROM pgherald_old) AS r;

            ELSIF (pgherald_clock OPERATOR(pg_catalog.&) 3) OPERATOR(pg_catalog.=) 2 THEN
                INSERT INTO pgherald.outbox_2 (relation, hash, part, operation, key, columns, old_columns, changed)
                SELECT -1044588126668863195, pg_catalog.hashtext(r.k), 2,
                    'D'::pg_catalog."char", r.k, r.c, r.o, r.d
                FROM (SELECT pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text AS k, '{"id":' OPERATOR(pg_catalog.||) pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text OPERATOR(pg_catalog.||) ',"value":' OPERATOR(pg_catalog.||) coalesce((CASE WHEN "value" IS DISTINCT FROM NULL THEN pg_catalog.concat("value") END)::pg_catalog.int8::pg_catalog.text, 'null') OPERATOR(pg_catalog.||) '}' AS c, NULL::pg_catalog.text AS o, NULL::pg_catalog.text[] AS d FROM pgherald_old) AS r;

            ELSE
                INSERT INTO pgherald.outbox_3 (relation, hash, part, operation, key, columns, old_columns, changed)
                SELECT -1044588126668863195, pg_catalog.hashtext(r.k), 3,
                    'D'::pg_catalog."char", r.k, r.c, r.o, r.d
                FROM (SELECT pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text AS k, '{"id":' OPERATOR(pg_catalog.||) pg_catalog.concat("id")::pg_catalog.int8::pg_catalog.text OPERATOR(pg_catalog.||) ',"value":' OPERATOR(pg_catalog.||) coalesce((CASE WHEN "value" IS DISTINCT FROM NULL THEN pg_catalog.concat("value") END)::pg_catalog.int8::pg_catalog.text, 'null') OPERATOR(pg_catalog.||) '}' AS c, NULL::pg_catalog.text AS o, NULL::pg_catalog.text[] AS d FROM pgherald_old) AS r;

            END IF;
        ELSE
            INSERT INTO pgherald.outbox (relation, hash, part, operation)
            SELECT -1044588126668863195, 0, pgherald_clock OPERATOR(pg_catalog.&) 3,
                pg_catalog.left(TG_OP, 1)::pg_catalog."char";
        END IF;
    EXCEPTION WHEN OTHERS THEN
        -- A column was renamed or dropped since, say. That must not fail the write; the event stays. If there
        -- is no outbox to record it in, the write fails.
        RAISE WARNING 'pgherald cannot record the changed rows of %: %', 'public.jobs', SQLERRM
            USING HINT = 'Install the triggers again.';
        INSERT INTO pgherald.outbox (relation, hash, part, operation)
            SELECT -1044588126668863195, 0, pgherald_clock OPERATOR(pg_catalog.&) 3,
                pg_catalog.left(TG_OP, 1)::pg_catalog."char";
    END;
    -- Not more often than every 50 ms, all writers together: NOTIFY makes them commit one after the other. Who
    -- has read something goes on looking for longer than that.
    IF FOUND AND pg_catalog.abs(
        pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) OPERATOR(pg_catalog.*) 4000
            OPERATOR(pg_catalog.-) pgherald_clock
    ) OPERATOR(pg_catalog.>=) 200 THEN
        pgherald_now := pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) OPERATOR(pg_catalog.*) 1000;
        PERFORM pg_catalog.setval(
            'pgherald.outbox_clock'::pg_catalog.regclass,
            (pgherald_now OPERATOR(pg_catalog.<<) 2)
                OPERATOR(pg_catalog.|) (pgherald_clock OPERATOR(pg_catalog.&) 3)
        );
        PERFORM pg_catalog.pg_notify('pgherald_outbox', '');
    END IF;
    RETURN NULL;
END
$pgherald$;
REVOKE ALL ON FUNCTION pgherald.notify_5014b5e10750208c() FROM PUBLIC;
COMMENT ON FUNCTION pgherald.notify_5014b5e10750208c() IS '{"channel":"pgherald","columns":["id","value"],"key":["id"],"operations":["insert","update","delete","truncate"],"outbox":true,"schema":"public","settings":false,"table":"jobs","version":1,"when_changed":[]}';
CREATE TRIGGER "pgherald_notify_insert" AFTER INSERT ON "public"."jobs"
    REFERENCING NEW TABLE AS pgherald_new FOR EACH STATEMENT EXECUTE FUNCTION pgherald.notify_5014b5e10750208c();
CREATE TRIGGER "pgherald_notify_update" AFTER UPDATE ON "public"."jobs"
    REFERENCING NEW TABLE AS pgherald_new OLD TABLE AS pgherald_old FOR EACH STATEMENT EXECUTE FUNCTION pgherald.notify_5014b5e10750208c();
CREATE TRIGGER "pgherald_notify_delete" AFTER DELETE ON "public"."jobs"
    REFERENCING OLD TABLE AS pgherald_old FOR EACH STATEMENT EXECUTE FUNCTION pgherald.notify_5014b5e10750208c();
CREATE TRIGGER "pgherald_notify_truncate" AFTER TRUNCATE ON "public"."jobs"
    FOR EACH STATEMENT EXECUTE FUNCTION pgherald.notify_5014b5e10750208c();
-- Asked under the lock, not when this was planned.
DO $pgherald$
DECLARE
    stranger text;
BEGIN
    IF pg_catalog.to_regprocedure(
        'pgherald.notify_rows(text,text,text,text,text[],text[],text[])'
    ) IS NULL THEN
        RAISE EXCEPTION 'pgherald.notify_rows was uninstalled since this was planned';
    END IF;
    -- Whoever owns one of these may put other code there, to be run with the rights of this role.
    SELECT o.rolname INTO stranger
    FROM pg_catalog.pg_namespace AS n
    CROSS JOIN LATERAL (
        SELECT n.nspowner AS owner
        UNION ALL SELECT p.proowner FROM pg_catalog.pg_proc AS p
        WHERE p.pronamespace = n.oid AND (
            p.pronargs = 0 AND p.proname = ANY ('{notify_5014b5e10750208c}'::pg_catalog.name[])
            OR p.proname = 'trim_outbox'
            OR p.proname = 'notify_rows'
            AND pg_catalog.oidvectortypes(p.proargtypes) = 'text, text, text, text, text[], text[], text[]'
        )
        UNION ALL SELECT c.relowner FROM pg_catalog.pg_class AS c
        WHERE c.relnamespace = n.oid AND c.relname ~ '^(outbox|consumer|parked_event)'
    ) AS x
    JOIN pg_catalog.pg_roles AS o ON o.oid = x.owner
    WHERE n.nspname = 'pgherald' AND NOT o.rolsuper AND o.rolname <> current_user
    LIMIT 1;
    IF stranger IS NOT NULL THEN
        RAISE EXCEPTION 'schema pgherald or a function of it belongs to %', stranger;
    END IF;
END
$pgherald$;
SELECT pg_catalog.set_config('lock_timeout', pg_catalog.current_setting('pgherald.lock_timeout'), true);
SELECT pg_catalog.set_config('search_path', pg_catalog.current_setting('pgherald.search_path'), true);
COMMIT;
