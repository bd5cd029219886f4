#variable_conflict use_variable
DECLARE
    -- The text of a value of any type; null stays null.
    as_text CONSTANT text := '(CASE WHEN %1$I IS DISTINCT FROM NULL THEN pg_catalog.concat(%1$I) END)';
    as_json CONSTANT text := 'pg_catalog.to_json(' || as_text || ')::pg_catalog.text';
    also CONSTANT text := ' OPERATOR(pg_catalog.||) ';
    -- Whether a row was lost on its way to another partition, because a trigger of that partition returned null.
    fewer CONSTANT text := '(SELECT pg_catalog.count(*) FROM pgherald_new) OPERATOR(pg_catalog.<)'
        ' (SELECT pg_catalog.count(*) FROM pgherald_old)';
    key_names CONSTANT text[] := names[:key_length];
    now_type regtype;
    -- The same without domains.
    base_type regtype;
    name text;
    value text;
    keys text[];
    members text[];
    left_out text[] := '{}';
    kept text[];
    row_columns text;
    key_columns text := '';
    key_is_null text;
    same_key text;
    condition text := 'true';
    old_columns text := 'NULL::pg_catalog.text';
    changed text := 'NULL::pg_catalog.text[]';
    -- The rows after, before, and in the table now.
    n text;
    o text;
    t text := '(SELECT NULL::pg_catalog.text AS k, NULL::pg_catalog.text AS c, NULL::pg_catalog.text[] AS w,'
        ' NULL::pg_catalog.text[] AS x) AS t ON false';
    -- Whether a row that is gone was deleted.
    is_deleted text := CASE operation WHEN 'UPDATE' THEN fewer WHEN 'DELETE' THEN 'true' ELSE 'false' END;
BEGIN
    FOR number IN 1 .. cardinality(names) LOOP
        name := names[number];
        now_type := (
            SELECT a.atttypid FROM pg_attribute AS a
            WHERE a.attrelid = relation AND a.attname = name AND a.attnum > 0 AND NOT a.attisdropped
                AND a.attgenerated <> 'v'
        );
        base_type := now_type;
        WHILE (SELECT t.typtype = 'd' FROM pg_type AS t WHERE t.oid = base_type) LOOP
            base_type := (SELECT t.typbasetype FROM pg_type AS t WHERE t.oid = base_type);
        END LOOP;
        value := CASE
            WHEN now_type = to_regtype(types[number]) THEN expressions[number]
            WHEN base_type IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
                THEN format('coalesce(' || as_text || ', ''null'')', name)
            WHEN base_type = 'bool'::regtype
                THEN format('coalesce(' || as_text || '::pg_catalog.bool::pg_catalog.text, ''null'')', name)
            WHEN pinned AND now_type IS NOT NULL
                OR base_type IN ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype, 'uuid'::regtype, 'name'::regtype)
                OR (SELECT t.typtype = 'e' FROM pg_type AS t WHERE t.oid = base_type)
                THEN format('coalesce(' || as_json || ', ''null'')', name)
        END;
        IF value IS NULL AND number <= key_length THEN
            RAISE WARNING 'pgherald cannot list the changed rows of %: key column % was renamed, dropped or changed its type',
                label, name USING HINT = 'Install the triggers again.';
            RETURN NULL;
        ELSIF value IS NULL THEN
            left_out := left_out || name;
        ELSIF number <= key_length THEN
            keys := keys || ('(' || value || ')');
        ELSE
            kept := kept || name;
            members := members || (quote_literal(to_json(name)::text || ':') || also || '(' || value || ')');
        END IF;
    END LOOP;
    FOREACH name IN ARRAY watched LOOP
        IF name <> ALL (left_out) AND NOT EXISTS (
            SELECT FROM pg_attribute AS a
            WHERE a.attrelid = relation AND a.attname = name AND a.attnum > 0 AND NOT a.attisdropped
        ) THEN
            left_out := left_out || name;
        END IF;
    END LOOP;
    IF left_out <> '{}' THEN
        RAISE WARNING 'pgherald leaves out columns of % that were renamed, dropped or changed their type: %',
            label, array_to_string(left_out, ', ') USING HINT = 'Install the triggers again.';
    END IF;

    row_columns := CASE
        WHEN key_length = 1 THEN keys[1]
        ELSE '''[''' || also || array_to_string(keys, also || ''',''' || also) || also || ''']'''
    END || ' AS k, ' || CASE
        WHEN cardinality(names) = key_length THEN 'NULL::pg_catalog.text'
        -- A value that is too large is null, and left out.
        ELSE '''{''' || also || 'pg_catalog.array_to_string(ARRAY[' || coalesce(array_to_string(members, ', '), '')
            || ']::pg_catalog.text[], '','')' || also || '''}'''
    END || ' AS c';
    -- Compared by text, whatever the present types are. If one of the watched columns is gone, every UPDATE counts.
    IF operation = 'UPDATE' AND watched <> '{}' AND NOT watched && left_out THEN
        row_columns := row_columns || ', ARRAY[' || (
            SELECT string_agg(format(as_json, w), ', ') FROM unnest(watched) AS u (w)
        ) || ']::pg_catalog.text[] AS w';
        condition := '(n.k IS NULL OR o.k IS NULL OR n.w OPERATOR(pg_catalog.<>) o.w OR t.w OPERATOR(pg_catalog.<>) o.w)';
    END IF;
    IF operation = 'UPDATE' AND has_old THEN
        row_columns := row_columns || ', ARRAY[' || coalesce((
            SELECT string_agg(format(as_json, u.name), ', ' ORDER BY u.place) FROM unnest(kept) WITH ORDINALITY AS u (name, place)
        ), '') || ']::pg_catalog.text[] AS x';
        old_columns := 'CASE WHEN n.k IS NOT NULL OR t.k IS NOT NULL OR NOT ' || fewer || ' THEN o.c END';
        changed := format(
            'CASE WHEN o.k IS NOT NULL AND (n.k IS NOT NULL OR t.k IS NOT NULL) THEN ARRAY('
            'SELECT u.name FROM unnest(%L::pg_catalog.text[], coalesce(t.x, n.x), o.x) AS u (name, a, b)'
            ' WHERE ARRAY[u.a] OPERATOR(pg_catalog.<>) ARRAY[u.b]) END',
            coalesce(kept, '{}')
        );
    END IF;

    IF is_nested AND (NOT has_table_privilege(relation, 'SELECT') OR row_security_active(relation)) THEN
        RAISE WARNING 'pgherald records rows of % as they were before its triggers changed them: role % may not read it',
            label, current_user USING HINT = 'Grant SELECT on the table to that role, without row security.';
        is_nested := false;
    END IF;
    -- Only a unique key finds the row again.
    IF is_nested AND EXISTS (
        SELECT FROM pg_class AS t JOIN pg_index AS i ON i.indrelid = t.oid
        WHERE t.oid = relation AND (t.relkind = 'p' OR NOT t.relhassubclass)
            AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
            AND NOT EXISTS (
                SELECT FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS u (attnum, place)
                JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = u.attnum
                WHERE u.place <= i.indnkeyatts AND a.attname <> ALL (key_names)
            )
    ) AND key_length = (
        WITH RECURSIVE base AS (
            SELECT t.typtype, t.typnamespace, t.typbasetype
            FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
            WHERE a.attrelid = relation AND a.attname = ANY (key_names) AND NOT a.attisdropped
            UNION ALL
            SELECT t.typtype, t.typnamespace, t.typbasetype
            FROM base AS b JOIN pg_type AS t ON t.oid = b.typbasetype
            WHERE b.typtype = 'd'
        )
        SELECT count(*) FROM base AS b
        WHERE b.typtype = 'e' OR b.typtype = 'b' AND b.typnamespace = 'pg_catalog'::regnamespace
    ) THEN
        SELECT string_agg(format(', %I AS p%s', u.name, u.place), ''),
            string_agg(format('t.p%1$s OPERATOR(pg_catalog.=) coalesce(n.p%1$s, o.p%1$s)', u.place), ' AND '),
            string_agg(format('coalesce(n.p%1$s, o.p%1$s) IS NULL', u.place), ' OR ')
        INTO key_columns, same_key, key_is_null
        FROM unnest(key_names) WITH ORDINALITY AS u (name, place);
        row_columns := row_columns || key_columns;
        t := format(
            '(SELECT %s FROM %s) AS t ON %s', row_columns,
            (
                SELECT format('%I.%I', s.nspname, r.relname)
                FROM pg_class AS r JOIN pg_namespace AS s ON s.oid = r.relnamespace WHERE r.oid = relation
            ),
            same_key
        );
        -- A nested statement has recorded the rows that it deleted or inserted again.
        condition := condition || CASE operation
            WHEN 'DELETE' THEN ' AND t.k IS NULL'
            ELSE ' AND (t.k IS NOT NULL OR n.k IS NULL OR ' || key_is_null || ')'
        END;
    END IF;

    -- Rows are paired by key; if keys repeat, by their places among the rows with the same key.
    n := format('SELECT pg_catalog.row_number() OVER () AS place, %s FROM %s', row_columns, CASE operation
        WHEN 'DELETE' THEN 'pgherald_old WHERE false' ELSE 'pgherald_new'
    END);
    o := format('SELECT pg_catalog.row_number() OVER () AS place, %s FROM %s', row_columns, CASE operation
        WHEN 'INSERT' THEN 'pgherald_new WHERE false' ELSE 'pgherald_old'
    END);
    RETURN format(
        'SELECT coalesce(n.k, o.k) AS k,'
        ' CASE WHEN t.k IS NOT NULL THEN t.c WHEN n.k IS NOT NULL THEN n.c WHEN %1$s THEN o.c END AS c,'
        ' %2$s AS o, %3$s AS d,'
        ' CASE WHEN n.k IS NULL AND t.k IS NULL AND %1$s THEN ''D'' ELSE %4$L END::pg_catalog."char" AS p'
        ' FROM (SELECT *, pg_catalog.row_number() OVER (PARTITION BY k ORDER BY place) AS i FROM (%5$s) AS n) AS n'
        ' FULL JOIN (SELECT *, pg_catalog.row_number() OVER (PARTITION BY k ORDER BY place) AS i FROM (%6$s) AS o) AS o'
        ' ON n.k OPERATOR(pg_catalog.=) o.k AND n.i OPERATOR(pg_catalog.=) o.i'
        ' LEFT JOIN %7$s WHERE %8$s',
        is_deleted, old_columns, changed, left(operation, 1), n, o, t, condition
    );
END
