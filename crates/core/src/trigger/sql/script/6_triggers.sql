        -- Its triggers.
        its_triggers := '{}';
        FOR item IN
            SELECT d.*,
                t.value ->> 'function' IS DISTINCT FROM its_function
                    OR t.value ->> 'events' <> d.events::text
                    OR t.value ->> 'new_table' IS DISTINCT FROM d.new_table OR t.value ->> 'old_table' IS DISTINCT FROM d.old_table
                    OR NOT (t.value ->> 'is_unconditional')::bool
                    -- The trigger keeps firing for replicated rows until it is created again.
                    OR coalesce((its_note ->> 'replicated')::bool, false) AND NOT spec.replicated AND t.value ->> 'firing' = 'A'
                    AS is_altered,
                coalesce(t.value ->> 'firing', 'O') = ANY (d.firings) AS is_enabled
            FROM (
                SELECT m.place, o.place AS rank, l.is_row, m.value AS member,
                    concat(
                        'pgherald_notify_', o.operation, CASE WHEN l.is_row THEN '_row' END,
                        CASE WHEN NOT (m.value ->> 'is_root')::bool THEN substr(its_function, 7) END
                    ) AS name,
                    o.operation,
                    o.bits + l.is_row::int4 AS events,
                    CASE WHEN NOT l.is_row THEN o.new_table END AS new_table,
                    CASE WHEN NOT l.is_row THEN o.old_table END AS old_table,
                    CASE
                        WHEN l.is_row THEN '{R,A}'
                        WHEN o.operation = 'truncate' AND spec.replicated THEN '{A}'
                        ELSE '{O,A}'
                    END::text[] AS firings,
                    CASE
                        WHEN l.is_row THEN 'REPLICA '
                        WHEN o.operation = 'truncate' AND spec.replicated THEN 'ALWAYS '
                        ELSE ''
                    END AS enabling
                FROM jsonb_array_elements(members) WITH ORDINALITY AS m (value, place)
                CROSS JOIN (VALUES
                    (1, 'insert', 4, 'pgherald_new', NULL), (2, 'update', 16, 'pgherald_new', 'pgherald_old'),
                    (3, 'delete', 8, NULL, 'pgherald_old'), (4, 'truncate', 32, NULL, NULL)
                ) AS o (place, operation, bits, new_table, old_table)
                CROSS JOIN (VALUES (false), (true)) AS l (is_row)
                WHERE o.operation = ANY (spec.operations)
                    AND (NOT l.is_row OR spec.replicated AND m.value ->> 'kind' = 'r' AND o.operation <> 'truncate')
            ) AS d
            LEFT JOIN jsonb_array_elements(triggers) AS t
                ON t.value ->> 'schema' = d.member ->> 'schema'
                    AND t.value ->> 'table' = d.member ->> 'table' AND t.value ->> 'name' = d.name
            ORDER BY d.place, d.is_row, d.rank
        LOOP
            its_triggers := its_triggers || format('%I.%I.%I', item.member ->> 'schema', item.member ->> 'table', item.name);
            IF item.is_altered THEN
                -- Before PostgreSQL 14, a trigger cannot be replaced.
                IF current_setting('server_version_num')::int4 < 140000 THEN
                    EXECUTE format('DROP TRIGGER IF EXISTS %I ON %I.%I', item.name, item.member ->> 'schema', item.member ->> 'table');
                END IF;
                SELECT string_agg(CASE WHEN p.n % 2 = 1 THEN p.part ELSE CASE p.part
                    WHEN 'create' THEN CASE
                        WHEN current_setting('server_version_num')::int4 < 140000 THEN 'CREATE TRIGGER' ELSE 'CREATE OR REPLACE TRIGGER'
                    END
                    WHEN 'trigger' THEN format('%I', item.name)
                    WHEN 'event' THEN upper(item.operation)
                    WHEN 'table' THEN format('%I.%I', item.member ->> 'schema', item.member ->> 'table')
                    WHEN 'referencing' THEN concat(
                        CASE WHEN coalesce(item.new_table, item.old_table) IS NOT NULL THEN 'REFERENCING ' END,
                        'NEW TABLE AS ' || item.new_table || ' ', 'OLD TABLE AS ' || item.old_table || ' '
                    )
                    WHEN 'level' THEN CASE WHEN item.is_row THEN 'ROW' ELSE 'STATEMENT' END
                    WHEN 'function' THEN 'pgherald.' || its_function
                END END, '' ORDER BY p.n) INTO problem
                FROM regexp_split_to_table(table_trigger, '@[{]|[}]@') WITH ORDINALITY AS p (part, n);
                EXECUTE problem;
            END IF;
            IF (item.is_altered AND item.enabling <> '') OR (NOT item.is_altered AND NOT item.is_enabled) THEN
                EXECUTE format(
                    'ALTER TABLE ONLY %I.%I ENABLE %sTRIGGER %I',
                    item.member ->> 'schema', item.member ->> 'table', item.enabling, item.name
                );
            END IF;
        END LOOP;
        FOR item IN
            SELECT t.value ->> 'schema' AS schema_name, t.value ->> 'table' AS table_name, t.value ->> 'name' AS trigger_name
            FROM jsonb_array_elements(triggers) AS t
            WHERE (
                t.value ->> 'function' = ANY (own || its_function)
                OR (t.value ->> 'is_root')::bool AND t.value ->> 'relation' = root
            ) AND format('%I.%I.%I', t.value ->> 'schema', t.value ->> 'table', t.value ->> 'name') <> ALL (its_triggers)
        LOOP
            EXECUTE format('DROP TRIGGER IF EXISTS %I ON %I.%I', item.trigger_name, item.schema_name, item.table_name);
        END LOOP;
        FOREACH problem IN ARRAY superseded LOOP
            EXECUTE format('DROP FUNCTION IF EXISTS pgherald.%s()', problem);
        END LOOP;
        all_functions := all_functions || its_function;
        all_tables := all_tables || format('%I.%I', entry ->> 'schema', entry ->> 'table');
    END LOOP;
    EXECUTE 'DO ' || quote_literal(
        replace(replace(require_shared, '@{functions}@', format('%L', all_functions)), '@{tables}@', format('%L', all_tables))
    );
    EXECUTE unlock_installers;
    EXIT;
EXCEPTION WHEN lock_not_available THEN
    -- Other transactions use the tables. Everything was rolled back, so no lock is held during the wait.
    IF attempt = 20 THEN
        RAISE EXCEPTION 'cannot change the triggers while other transactions use the tables'
            USING ERRCODE = 'lock_not_available', HINT = 'Run the script again later.';
    END IF;
    PERFORM pg_catalog.pg_sleep(least(2, 0.1 * power(2, least(attempt, 6) - 1)));
END;
END LOOP;
END
