        -- The parts of its function that depend on its columns.
        WITH listed AS (
            SELECT 'key' AS list, n.place - 1 AS place, n.name FROM unnest(spec.key) WITH ORDINALITY AS n (name, place)
            UNION ALL
            SELECT 'columns', n.place - 1, n.name FROM unnest(spec.columns) WITH ORDINALITY AS n (name, place)
            UNION ALL
            SELECT 'watched', n.place - 1, n.name FROM unnest(spec.watched) WITH ORDINALITY AS n (name, place)
            UNION ALL
            SELECT 'read', row_number() OVER (ORDER BY min(n.place)) - 1, n.name
            FROM unnest(spec.key || spec.columns || spec.watched) WITH ORDINALITY AS n (name, place) GROUP BY n.name
        ), part AS (
            SELECT l.list, l.place, l.name, c.value AS properties,
                array_position('{key,columns,watched}', l.list) AS rank,
                CASE
                    -- A key column has a type even if its text is read as it is, because values may have several texts.
                    WHEN l.list = 'key' AND (c.value ->> 'is_ambiguous')::bool
                        AND c.value ->> 'type_name' = ANY ('{text,varchar,bpchar,name}') THEN '"collated"'
                    WHEN l.list <> 'key' OR d.type <> '"text"' THEN d.type
                    WHEN c.value ->> 'type_name' = '' AND right(c.value ->> 'exact_type', 7) = '.citext' THEN '"caseless"'
                    ELSE to_json(coalesce(key_type_names ->> (c.value ->> 'type_name'), 'other'))::text
                END AS type,
                q.quoted, concat(CASE WHEN strpos(l.name, chr(92)) > 0 THEN ' ' END, quote_literal(l.name)) AS literal,
                f.texts,
                f.texts ->> ('checks' || s.suffix) AS checks,
                f.texts ->> ('new_readable' || s.suffix) AS new_readable,
                f.texts ->> ('old_readable' || s.suffix) AS old_readable
            FROM listed AS l
            JOIN jsonb_array_elements(table_columns) AS c ON c.value ->> 'name' = l.name
            CROSS JOIN LATERAL (SELECT coalesce(type_texts ->> (c.value ->> 'type_oid'), '"text"') AS type) AS d
            CROSS JOIN LATERAL (SELECT '"' || replace(l.name, '"', '""') || '"' AS quoted) AS q
            CROSS JOIN LATERAL (
                SELECT CASE WHEN left(c.value ->> 'exact_type', 11) = 'pg_catalog.' THEN '' ELSE '_of_domain' END AS suffix
            ) AS s
            CROSS JOIN LATERAL (
                SELECT CASE
                    WHEN c.value ->> 'type_name' = 'numeric' AND value_limit >= {{longest_numeric}} THEN 'short values'
                    WHEN EXISTS (
                        SELECT FROM jsonb_array_elements(fragments) AS f WHERE f.value -> 'types' ? (c.value ->> 'type_name')
                    ) THEN c.value ->> 'type_name'
                    WHEN (c.value ->> 'is_short')::bool THEN 'short values'
                    ELSE 'long values'
                END AS kind
            ) AS k
            LEFT JOIN LATERAL (
                SELECT string_to_array(f.value ->> 'text', ' ')::int8[] AS g
                FROM jsonb_array_elements(fragments) AS f WHERE f.value ->> 'name' = 'growth' AND f.value -> 'types' ? k.kind
            ) AS g ON true
            CROSS JOIN LATERAL (
                SELECT jsonb_object_agg(f.value ->> 'name', (
                    SELECT string_agg(CASE WHEN p.n % 2 = 1 THEN p.part ELSE CASE p.part
                        WHEN 'column' THEN q.quoted
                        WHEN 'number' THEN l.place::text
                        WHEN 'limit' THEN value_limit::text
                        WHEN 'least' THEN (value_limit / g.g[1])::text
                        WHEN 'most' THEN (value_limit * g.g[2] / g.g[3] + g.g[4])::text
                        WHEN 'type' THEN
                            concat(CASE WHEN strpos(c.value ->> 'exact_type', chr(92)) > 0 THEN ' ' END,
                                quote_literal(c.value ->> 'exact_type'))
                    END END, '' ORDER BY p.n)
                    FROM regexp_split_to_table(f.value ->> 'text', '@[{]|[}]@') WITH ORDINALITY AS p (part, n)
                )) AS texts
                FROM jsonb_array_elements(fragments) AS f WHERE f.value -> 'types' ? k.kind
            ) AS f
        ), whole AS (
            SELECT
                string_agg(t.key, ' OPERATOR(pg_catalog.||) '','' OPERATOR(pg_catalog.||) ' ORDER BY p.place)
                    FILTER (WHERE p.list = 'key') AS keys,
                string_agg(
                    concat(CASE WHEN strpos(t.member, chr(92)) > 0 THEN ' ' END, quote_literal(t.member))
                        || ' OPERATOR(pg_catalog.||) ' || (p.texts ->> 'value') || ' OPERATOR(pg_catalog.||) ', ''
                            ORDER BY p.place
                ) FILTER (WHERE p.list = 'columns') AS columns,
                string_agg(p.texts ->> 'comparable', ', ' ORDER BY p.rank, p.place)
                    FILTER (WHERE p.list = ANY ('{key,watched}')) AS watched,
                string_agg(p.texts ->> 'comparable', ', ' ORDER BY p.place) FILTER (WHERE p.list = 'key') AS parts,
                string_agg(format('NEW.%1$s AS %1$s', p.quoted), ', ' ORDER BY p.rank, p.place)
                    FILTER (WHERE CASE WHEN spec.outbox THEN p.list = 'read'
                        ELSE p.list = 'key' OR p.list = 'columns' AND t.is_no_key END) AS new_fields,
                string_agg(format('OLD.%1$s AS %1$s', p.quoted), ', ' ORDER BY p.rank, p.place)
                    FILTER (WHERE CASE WHEN spec.outbox THEN p.list = 'read'
                        ELSE p.list = 'key' OR p.list = 'columns' AND t.is_no_key END) AS old_fields,
                string_agg(format('NEW.%1$s AS %1$s', p.quoted), ', ' ORDER BY p.rank, p.place)
                    FILTER (WHERE p.list = 'key' OR p.list = 'watched' AND t.is_no_key) AS new_watched,
                string_agg(format('OLD.%1$s AS %1$s', p.quoted), ', ' ORDER BY p.rank, p.place)
                    FILTER (WHERE p.list = 'key' OR p.list = 'watched' AND t.is_no_key) AS old_watched,
                string_agg(p.new_readable, ' AND ' ORDER BY p.place) FILTER (WHERE p.list = 'read') AS new_readable,
                string_agg(p.old_readable, ' AND ' ORDER BY p.place) FILTER (WHERE p.list = 'read') AS old_readable,
                string_agg(p.checks, ' AND ' ORDER BY p.place) FILTER (WHERE p.list = 'read') AS checks,
                string_agg('NULL::pg_catalog.void AS ' || p.quoted, ', ' ORDER BY p.place) FILTER (WHERE p.list = 'read') AS gone,
                string_agg(format('%s AS v%s', p.quoted, p.place), ', ' ORDER BY p.place)
                    FILTER (WHERE p.list = 'read') AS numbered,
                string_agg(format(', %s AS w%s', p.texts ->> 'comparable', p.place), '' ORDER BY p.place)
                    FILTER (WHERE p.list = 'watched') AS watched_values,
                string_agg(format(' OR n.w%1$s IS DISTINCT FROM o.w%1$s', p.place), '' ORDER BY p.place)
                    FILTER (WHERE p.list = 'watched') AS watched_differ,
                string_agg(format(', %s AS c%s', p.texts ->> 'comparable_within', p.place), '' ORDER BY p.place)
                    FILTER (WHERE p.list = 'columns') AS column_values,
                string_agg(format('CASE WHEN %s THEN %s END', p.texts ->> 'differs', p.literal), ', ' ORDER BY p.place)
                    FILTER (WHERE p.list = 'columns') AS changed_names,
                string_agg(p.literal, ', ' ORDER BY p.rank, p.place) FILTER (WHERE p.list = ANY ('{key,columns}')) AS query_names,
                string_agg(
                    concat(CASE WHEN strpos(p.properties ->> 'exact_type', chr(92)) > 0 THEN ' ' END,
                        quote_literal(p.properties ->> 'exact_type')),
                    ', ' ORDER BY p.rank, p.place
                ) FILTER (WHERE p.list = ANY ('{key,columns}')) AS query_types,
                string_agg(
                    concat(CASE WHEN strpos(t.value, chr(92)) > 0 THEN ' ' END, quote_literal(t.value)), ', '
                        ORDER BY p.rank, p.place
                ) FILTER (WHERE p.list = ANY ('{key,columns}')) AS query_values,
                string_agg(p.literal, ', ' ORDER BY p.place) FILTER (WHERE p.list = 'watched') AS query_watched,
                coalesce(bool_or(p.texts ? 'settings'), false) AS needs_settings,
                coalesce(bool_or((p.properties ->> 'names_objects')::bool), false) AS names_objects,
                string_agg(concat(to_json(p.name), ':', p.type), ',' ORDER BY p.rank, p.place) FILTER (
                    WHERE p.type <> '"text"' AND p.texts ? 'is_text'
                        AND (p.list = 'key' OR p.list = 'columns' AND t.is_no_key)
                ) AS types,
                string_agg(concat(to_json(p.name), ':', p.properties ->> 'number'), ',' ORDER BY p.name COLLATE "C")
                    FILTER (WHERE p.list = 'read') AS numbers
            FROM part AS p
            CROSS JOIN LATERAL (
                SELECT p.texts ->> CASE WHEN spec.outbox THEN 'unlimited' ELSE 'limited' END AS key,
                    p.texts ->> CASE WHEN p.list = 'columns' THEN 'value' WHEN spec.outbox THEN 'unlimited' ELSE 'limited' END AS value,
                    concat(CASE p.place WHEN 0 THEN '{' ELSE ',' END, to_json(p.name), ':') AS member,
                    p.name <> ALL (spec.key) AS is_no_key
            ) AS t
        )
        SELECT to_jsonb(w) INTO texts FROM whole AS w;
        needs_settings := (texts ->> 'needs_settings')::bool;
        names_objects := (texts ->> 'names_objects')::bool;
        types := '{' || (texts ->> 'types') || '}';
        IF NOT spec.outbox AND octet_length(types) > {{max_types}} THEN
            RAISE EXCEPTION 'the types of the columns of % take more room than a notification has', label
                USING HINT = 'List fewer columns, or record the table in the outbox.';
        END IF;

        -- The number of the relation in the outbox: FNV-1a hashes of the table's name and key, and of the types of its columns.
        relation_id := NULL;
        FOREACH hashed IN ARRAY ARRAY[
            convert_to(entry ->> 'schema', 'UTF8') || decode('00', 'hex') || convert_to(entry ->> 'table', 'UTF8')
                || decode('00', 'hex') || convert_to(array_to_json(spec.key)::text, 'UTF8'),
            convert_to(types, 'UTF8')
        ] LOOP
            CONTINUE WHEN hashed IS NULL;
            hash := 14695981039346656037;
            FOR i IN 0 .. octet_length(hashed) - 1 LOOP
                hash := (hash - hash % 256 + ((hash % 256)::int4 # get_byte(hashed, i))) * 1099511628211 % 18446744073709551616;
            END LOOP;
            IF hash >= 9223372036854775808 THEN
                hash := hash - 18446744073709551616;
            END IF;
            relation_id := CASE
                WHEN relation_id IS NULL THEN hash::int8
                ELSE (relation_id & ~16777215::int8) | ((hash::int8 >> 40) & 16777215)
            END;
        END LOOP;

        -- Its function.
        texts := texts || jsonb_build_object(
            'function', its_function,
            'relation_id', relation_id,
            'key', CASE cardinality(spec.key)
                WHEN 1 THEN texts ->> 'keys'
                ELSE '''['' OPERATOR(pg_catalog.||) ' || (texts ->> 'keys') || ' OPERATOR(pg_catalog.||) '']'''
            END,
            'columns', coalesce((texts ->> 'columns') || '''}''', CASE WHEN spec.outbox THEN {{no_columns_outbox}} ELSE {{no_columns_notify}} END),
            'cols', CASE WHEN spec.columns = '{}' THEN {{no_cols}} ELSE {{cols}} END,
            'names', format('ARRAY[%s]::pg_catalog.text[]', texts ->> 'query_names'),
            'types', format('ARRAY[%s]::pg_catalog.text[]', texts ->> 'query_types'),
            'values', format('ARRAY[%s]::pg_catalog.text[]', texts ->> 'query_values'),
            'watched_names', format('ARRAY[%s]::pg_catalog.text[]', texts ->> 'query_watched'),
            'key_length', cardinality(spec.key),
            'has_old', spec.old,
            'is_pinned', needs_settings
        ) || (
            SELECT jsonb_object_agg(l.key, concat(CASE WHEN strpos(l.value, chr(92)) > 0 THEN ' ' END, quote_literal(l.value)))
            FROM jsonb_each_text(jsonb_build_object(
                'label', label, 'channel', spec.channel, 'schema', entry ->> 'schema', 'table', entry ->> 'table',
                'relation', concat('"schema":', to_json(entry ->> 'schema'), ',"table":', to_json(entry ->> 'table')),
                'key_names', array_to_json(spec.key)::text || CASE WHEN NOT spec.outbox THEN coalesce(',"types":' || types, '') ELSE '' END
            )) AS l
        );
        texts := texts || jsonb_build_object(
            'outbox_key', CASE WHEN spec.key = '{}' THEN 'NULL' ELSE texts ->> 'key_names' END,
            'column_types', CASE
                WHEN types IS NULL THEN 'NULL'
                ELSE concat(CASE WHEN strpos(types, chr(92)) > 0 THEN ' ' END, quote_literal(types))
            END
        );
        settings := concat(
            CASE WHEN NOT spec.outbox OR comparing OR names_objects THEN {{search_path}} END,
            CASE WHEN names_objects THEN {{names_settings}} END,
            CASE WHEN needs_settings THEN {{text_settings}} END,
            CASE WHEN spec.watched <> '{}' AND NOT spec.outbox THEN {{compare_settings}} END
        );
        FOR item IN
            SELECT t.name, t.template, t.letter, nullif(strpos(t.template, '|'), 0) - 1 AS width
            FROM (VALUES
                (1, 'rows_query', rows_query_call, NULL::text),
                (2, 'updated', outbox_updated, chr(97 + 8 * is_unique::int4
                    + 4 * (spec.watched <> '{}')::int4 + 2 * spec.old::int4 + (spec.columns <> '{}')::int4)),
                (
                    3, 'body', CASE WHEN spec.outbox THEN outbox_body ELSE notify_body END,
                    chr(97 + 4 * (spec.key <> '{}')::int4 + 2 * (CASE WHEN spec.outbox THEN comparing ELSE spec.watched <> '{}' END)::int4 + spec.replicated::int4)
                ),
                (4, 'define', replace(table_function, '@{settings}@', settings), NULL),
                (5, 'describe', table_relation, NULL)
            ) AS t (place, name, template, letter)
            ORDER BY t.place
        LOOP
            IF item.letter IS NOT NULL THEN
                SELECT string_agg(substr(l.line, item.width + 2), chr(10) ORDER BY l.n) INTO item.template
                FROM unnest(string_to_array(item.template, chr(10))) WITH ORDINALITY AS l (line, n)
                WHERE strpos(left(l.line, item.width), item.letter) > 0;
            END IF;
            SELECT texts || jsonb_build_object(item.name, t.text, item.name || '_quoted',
                quote_literal(chr(10) || t.text)) INTO texts
            FROM (
                SELECT string_agg(CASE WHEN p.n % 2 = 1 THEN p.part ELSE texts ->> p.part END, '' ORDER BY p.n) AS text
                FROM regexp_split_to_table(item.template, '@[{]|[}]@') WITH ORDINALITY AS p (part, n)
            ) AS t;
        END LOOP;
        IF spec.outbox THEN
            EXECUTE texts ->> 'describe';
        END IF;
        IF functions #>> ARRAY[its_function, 'body'] IS DISTINCT FROM chr(10) || (texts ->> 'body')
            OR NOT (functions #>> ARRAY[its_function, 'is_definer'])::bool
            OR functions #> ARRAY[its_function, 'settings'] IS DISTINCT FROM to_jsonb(ARRAY(
                SELECT translate(replace(substr(btrim(l.line), 5), ' = ', '='), '''', '')
                FROM unnest(string_to_array(settings, chr(10))) WITH ORDINALITY AS l (line, n) WHERE l.line <> '' ORDER BY l.n
            ))
        THEN
            EXECUTE texts ->> 'define';
            functions := functions #- ARRAY[its_function, 'comment'];
        END IF;
        -- The members have the order in which serde_json writes them.
        note := concat(
            '{"channel":', to_json(spec.channel), ',"columns":', array_to_json(spec.columns),
            CASE WHEN spec.every THEN ',"every_column":true' END, ',"key":', array_to_json(spec.key),
            CASE WHEN names_objects THEN ',"names_objects":true' END, CASE WHEN spec.old THEN ',"old_columns":true' END,
            ',"operations":', array_to_json(spec.operations), CASE WHEN spec.outbox THEN ',"outbox":true' END,
            ',"place":{"columns":{', texts ->> 'numbers', '},"table":', root, '}',
            CASE WHEN spec.replicated THEN ',"replicated":true' END, ',"schema":', to_json(entry ->> 'schema'),
            ',"settings":', to_json(needs_settings), ',"table":', to_json(entry ->> 'table'),
            ',"value_limit":' || spec.value_limit, ',"version":', current_version, ',"when_changed":', array_to_json(spec.watched), '}'
        );
        IF functions #>> ARRAY[its_function, 'comment'] IS DISTINCT FROM note THEN
            EXECUTE format('COMMENT ON FUNCTION pgherald.%s() IS %L', its_function, note);
        END IF;

