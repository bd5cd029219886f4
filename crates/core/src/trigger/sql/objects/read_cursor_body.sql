-- The position that the text of a cursor stands for. Everything is null if the text is not a cursor. Raises no error, so that one
-- such text does not hide the other cursors. A row with an id up to `settled` is read, unless its transaction is not visible in the
-- snapshot `latest`; such a transaction comes before `begun`. Cursors are parsed by the type Cursor of the program, and in the database only here.
DECLARE
    xid CONSTANT text := '[0-9]{1,18}';
    point CONSTANT text := format('%1$s:%1$s:(%1$s(,%1$s)*)? %1$s %1$s %1$s', xid);
    -- Snapshot, floor, begun, closed; the same of the end of the difference being read; the position in it.
    words CONSTANT text[] := string_to_array(cursor, ' ');
    snapshot text;
    xmin bigint;
    xmax bigint;
    running bigint[];
BEGIN
    IF cursor !~ format('^%1$s( %1$s -?[0-9]{1,19})?$', point)
        OR abs(words[9]::numeric) > 9223372036854775807 AND words[9] <> '-9223372036854775808'
    THEN
        RETURN;
    END IF;
    FOREACH snapshot IN ARRAY ARRAY[words[1], words[5]] LOOP
        CONTINUE WHEN snapshot IS NULL;
        xmin := split_part(snapshot, ':', 1)::bigint;
        xmax := split_part(snapshot, ':', 2)::bigint;
        running := string_to_array(split_part(snapshot, ':', 3), ',')::bigint[];
        IF xmin = 0 OR xmin > xmax OR running[1] < xmin OR running[cardinality(running)] >= xmax
            OR running <> ARRAY(SELECT r.id FROM unnest(running) AS r (id) ORDER BY r.id)
        THEN
            RETURN;
        END IF;
    END LOOP;
    done := words[1]::pg_snapshot;
    floor := words[2]::bigint;
    closed := words[4]::bigint;
    reading := words[5]::pg_snapshot;
    "position" := words[9]::bigint;
    -- The snapshot, floor and begun of the end of the difference, once something beyond the first floor was read of it.
    IF "position" > floor THEN
        latest := reading;
        settled := least("position", words[6]::bigint);
        begun := words[7]::bigint;
    ELSE
        latest := done;
        settled := floor;
        begun := words[3]::bigint;
    END IF;
END
