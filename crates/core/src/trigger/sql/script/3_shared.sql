    -- The objects that all tables share.
    IF is_new THEN
        COMMENT ON SCHEMA pgherald IS {{schema_comment}};
    END IF;
    IF functions #>> '{notify_rows,body}' IS DISTINCT FROM chr(10) || notify_rows_body
        OR functions #>> '{rows_query,body}' IS DISTINCT FROM chr(10) || rows_query_body
        OR notes -> 'notify_rows' IS DISTINCT FROM jsonb_build_object('version', current_version)
        OR notes -> 'rows_query' IS DISTINCT FROM jsonb_build_object('version', current_version)
        OR functions #> '{notify_rows,settings}' <> '[]' OR functions #> '{rows_query,settings}' <> {{rows_query_settings}}
        OR (functions #>> '{notify_rows,is_definer}')::bool OR (functions #>> '{rows_query,is_definer}')::bool
    THEN
        EXECUTE replace(notify_rows, '@{body}@', quote_literal(chr(10) || notify_rows_body));
        EXECUTE replace(rows_query, '@{body}@', quote_literal(chr(10) || rows_query_body));
    END IF;
    required := '[]';
    IF EXISTS (SELECT FROM jsonb_array_elements(tables) AS e WHERE e.value ->> 'mode' = 'outbox') THEN
        installed_version := substring(installed_outbox ->> 'comment' FROM '^[{]"version":([0-9]+)[}]$')::int4;
        IF installed_outbox = 'null' THEN
            installed_version := 0;
        ELSIF installed_version IS NULL THEN
            RAISE EXCEPTION 'table pgherald.outbox was not made by pgherald: its comment has no version'
                USING HINT = 'Move the table away.';
        ELSIF installed_version > current_version THEN
            RAISE EXCEPTION 'pgherald.outbox was installed by a later version of pgherald'
                USING HINT = 'Generate the script with that version.';
        END IF;
        FOR number IN installed_version + 1 .. current_version LOOP
            IF number > 1 AND installed_outbox <> 'null' THEN
                EXECUTE 'DO ' || quote_literal(replace(outbox_guard, '@{from}@', (number - 1)::text));
            END IF;
            EXECUTE outbox_migrations[number];
        END LOOP;
        IF installed_version < current_version THEN
            EXECUTE format('COMMENT ON TABLE pgherald.outbox IS %L', format('{"version":%s}', current_version));
            EXECUTE outbox_functions;
        ELSIF (installed_outbox ->> 'is_readable')::bool THEN
            EXECUTE outbox_rows INTO is_complete;
            IF NOT is_complete THEN
                EXECUTE outbox_seed;
            END IF;
        END IF;
    END IF;
    -- A role that owns tables, but not the schema, may lack the right to read requirements.
    IF NOT narrow AND (installed_outbox ->> 'has_readable_requirements')::bool THEN
        SELECT coalesce(jsonb_agg(to_jsonb(r) || jsonb_build_object('specification', r.specification::jsonb)), '[]') INTO required
        FROM pgherald.consumer_requirement AS r
        JOIN jsonb_array_elements(tables) AS e ON e.value ->> 'schema' = r.schema_name AND e.value ->> 'table' = r.table_name;
        SELECT r.value ->> 'group_name' INTO problem FROM jsonb_array_elements(required) AS r
        WHERE (r.value -> 'specification') - {{known_options}}::text[] <> '{}';
        IF problem IS NOT NULL THEN
            RAISE EXCEPTION 'a later version of pgherald stored what group % requires', problem
                USING HINT = 'Generate the script with that version, or with --narrow.';
        END IF;
    END IF;

