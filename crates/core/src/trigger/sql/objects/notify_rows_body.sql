#variable_conflict use_variable
DECLARE
    -- pg_notify refuses 8,000 bytes and more, counted in the server's encoding.
    max_bytes CONSTANT integer := 7999;
    max_rows CONSTANT integer := 1000;
    middle CONSTANT text := CASE WHEN cols IS NULL THEN '' ELSE '],"columns":[' END;
    -- It also makes payloads of one transaction different, because PostgreSQL would send only the first of equal ones.
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
    texts text[];
    bytes bytea;
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

    -- Listeners receive UTF-8. A text that the server cannot convert would end the session of each of them, so its bytes are
    -- sent as escapes, as if they were Latin-1. (In JSON such bytes occur within strings only.) Texts are converted one by
    -- one, because the text of a key must not depend on the other rows of its statement.
    IF getdatabaseencoding() <> 'UTF8' THEN
        texts := keys || old_keys || cols;
        BEGIN
            PERFORM convert_to(array_to_string(texts, ''), 'UTF8');
        EXCEPTION WHEN character_not_in_repertoire OR untranslatable_character THEN
            FOR i IN 1 .. cardinality(texts) LOOP
                BEGIN
                    PERFORM convert_to(texts[i], 'UTF8');
                EXCEPTION WHEN character_not_in_repertoire OR untranslatable_character THEN
                    bytes := convert_to(texts[i], getdatabaseencoding());
                    texts[i] := (
                        SELECT string_agg(CASE WHEN b.v < 128 THEN chr(b.v) ELSE chr(92) || 'u00' || to_hex(b.v) END, '' ORDER BY b.n)
                        FROM (SELECT n, get_byte(bytes, n) AS v FROM generate_series(0, octet_length(bytes) - 1) AS n) AS b
                    );
                END;
            END LOOP;
            cols := texts[cardinality(texts) - cardinality(cols) + 1 :];
            old_keys := texts[cardinality(keys) + 1 : cardinality(keys) + cardinality(old_keys)];
            keys := texts[: cardinality(keys)];
        END;
    END IF;

    -- A key without a unique index may repeat: each pair of key and columns is sent once.
    IF cardinality(keys) > 1 THEN
        SELECT array_agg(d.k ORDER BY d.n), array_agg(d.c ORDER BY d.n) INTO keys, cols
        FROM (
            SELECT u.k, u.c, min(u.n) AS n
            FROM unnest(keys, cols) WITH ORDINALITY AS u (k, c, n)
            GROUP BY u.k, u.c
        ) AS d;
    END IF;

    -- An UPDATE of the key itself: the rows with the old keys are gone.
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

    -- They do not fit into one payload: fill as many as needed, unless a single key is too large.
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
