    all_functions := '{}';
    all_tables := '{}';
    FOR entry IN SELECT e.value FROM jsonb_array_elements(tables) AS e LOOP
        label := concat(entry ->> 'schema', '.', entry ->> 'table');

        -- The table with its partitions, children and columns.
        SELECT m.key, m.value INTO root, members FROM jsonb_each(all_members) AS m
        WHERE (m.value #>> '{0,is_root}')::bool AND m.value #>> '{0,schema}' = entry ->> 'schema'
            AND m.value #>> '{0,table}' = entry ->> 'table';
        IF root IS NULL THEN
            RAISE EXCEPTION 'table % does not exist', label
                USING ERRCODE = 'undefined_table', HINT = 'Create it in an earlier migration.';
        END IF;
        SELECT format('%s.%s', m.value ->> 'schema', m.value ->> 'table') INTO problem
        FROM jsonb_array_elements(members) AS m WHERE m.value ->> 'kind' <> ALL ('{r,p}');
        IF problem IS NOT NULL THEN
            RAISE EXCEPTION '% is not a table', problem
                USING ERRCODE = 'wrong_object_type', HINT = 'Views and foreign tables have no such triggers. Name the tables beneath.';
        END IF;
        table_columns := coalesce(all_columns -> root, '[]');
        readable := ARRAY(
            SELECT c.value ->> 'name' FROM jsonb_array_elements(table_columns) WITH ORDINALITY AS c (value, place)
            WHERE NOT (c.value ->> 'is_virtual')::bool ORDER BY c.place
        );
        primary_key := ARRAY(
            SELECT c.value ->> 'name' FROM jsonb_array_elements(table_columns) AS c
            WHERE c.value ->> 'key_place' IS NOT NULL ORDER BY (c.value ->> 'key_place')::int4
        );

        -- Its function: the one that its own triggers call, or one that a former table of this name left behind.
        own := ARRAY(
            SELECT t.value ->> 'function' FROM jsonb_array_elements(triggers) AS t
            WHERE (t.value ->> 'is_root')::bool AND t.value ->> 'relation' = root AND functions ? (t.value ->> 'function')
                AND NOT EXISTS (
                    SELECT FROM jsonb_array_elements(triggers) AS o
                    WHERE o.value ->> 'function' = t.value ->> 'function' AND (o.value ->> 'is_root')::bool
                        AND o.value ->> 'relation' <> root
                )
            GROUP BY 1 ORDER BY count(*) DESC, 1
        );
        superseded := own[2:];
        its_function := coalesce(own[1], (
            SELECT n.key FROM jsonb_each(notes) AS n
            WHERE n.value ->> 'schema' = entry ->> 'schema' AND n.value ->> 'table' = entry ->> 'table'
                AND NOT EXISTS (
                    SELECT FROM jsonb_array_elements(triggers) AS t
                    WHERE t.value ->> 'function' = n.key AND (t.value ->> 'is_root')::bool
                )
            ORDER BY 1 LIMIT 1
        ));
        is_installed := its_function IS NOT NULL;
        its_note := notes -> its_function;
        IF its_function IS NULL THEN
            SELECT f.name INTO its_function
            FROM (SELECT n, format('notify_%s%s', lpad(to_hex(root::int8), 8, '0'), lpad(to_hex(n), 8, '0')) AS name FROM generate_series(0, 1000) AS n) AS f
            WHERE f.name <> ALL (all_functions) AND NOT EXISTS (
                SELECT FROM jsonb_array_elements(catalog) AS o WHERE o.value ->> 'kind' = 'name' AND o.value ->> 'of' = f.name
            )
            ORDER BY f.n LIMIT 1;
        END IF;
        IF is_installed AND NOT narrow AND its_note ->> 'operations' IS NULL
            AND (functions #>> ARRAY[its_function, 'body'] LIKE '%INSERT INTO pgherald.outbox%') <> coalesce(entry ->> 'mode' = 'outbox', false)
        THEN
            RAISE EXCEPTION 'the function of % has no specification in its comment, and is of the other mode', label
                USING HINT = 'Generate the script with --narrow to replace it.';
        END IF;

        -- Its options: the listed ones. Unless narrow, they are merged with those of the present installation and of groups.
        FOR other IN
            SELECT o.place, o.origin,
                coalesce(o.value ->> 'mode' = 'outbox', (o.value ->> 'outbox')::bool, false) AS outbox,
                coalesce(o.value ->> 'channel', {{default_channel}}) AS channel,
                l.lists -> 'key' IS NULL AS has_primary_key,
                ARRAY(SELECT jsonb_array_elements_text(l.lists -> 'key')) AS key,
                ARRAY(SELECT jsonb_array_elements_text(l.lists -> 'columns')) AS columns,
                coalesce((o.value ->> 'every_column')::bool, o.value -> 'columns' = '"*"', false) AS every,
                coalesce((o.value ->> 'old_columns')::bool, false) AS old,
                ARRAY(
                    SELECT p.operation FROM unnest('{insert,update,delete,truncate}'::text[]) WITH ORDINALITY AS p (operation, place)
                    WHERE coalesce(o.value -> 'operations' ? p.operation, true) ORDER BY p.place
                ) AS operations,
                ARRAY(SELECT jsonb_array_elements_text(l.lists -> 'when_changed')) AS watched,
                (o.value ->> 'value_limit')::int8 AS value_limit,
                coalesce((o.value ->> 'replicated')::bool, false) AS replicated
            FROM (
                SELECT 0 AS place, 'the script' AS origin, entry AS value
                UNION ALL
                SELECT 1, 'the present installation', its_note WHERE NOT narrow AND its_note ->> 'operations' IS NOT NULL
                UNION ALL
                SELECT 2, format('what group %s requires', r.value ->> 'group_name'), r.value -> 'specification'
                FROM jsonb_array_elements(required) AS r
                WHERE r.value ->> 'schema_name' = entry ->> 'schema' AND r.value ->> 'table_name' = entry ->> 'table'
            ) AS o
            CROSS JOIN LATERAL (
                -- Columns that were renamed since the installation have their present names.
                SELECT coalesce(jsonb_object_agg(n.list, (
                    SELECT coalesce(jsonb_agg(coalesce(c.value ->> 'name', e.name) ORDER BY e.place), '[]')
                    FROM jsonb_array_elements_text(o.value -> n.list) WITH ORDINALITY AS e (name, place)
                    LEFT JOIN jsonb_array_elements(table_columns) AS c
                        ON o.value #>> '{place,table}' = root
                            AND c.value ->> 'number' = o.value #>> ARRAY['place', 'columns', e.name]
                )), '{}') AS lists
                FROM unnest('{key,columns,when_changed}'::text[]) AS n (list)
                WHERE jsonb_typeof(o.value -> n.list) = 'array'
            ) AS l
            ORDER BY o.place, o.origin
        LOOP
            IF other.place = 0 THEN
                spec := other;
                IF spec.has_primary_key THEN
                    spec.key := primary_key;
                END IF;
                spec.columns := spec.columns || ARRAY(
                    SELECT n.name FROM jsonb_array_elements_text(entry -> 'optional_columns') WITH ORDINALITY AS n (name, place)
                    WHERE n.name <> ALL (spec.columns)
                        AND EXISTS (SELECT FROM jsonb_array_elements(table_columns) AS c WHERE c.value ->> 'name' = n.name)
                    ORDER BY n.place
                );
                SELECT n.name INTO problem FROM unnest(spec.key || spec.columns || spec.watched) AS n (name)
                    WHERE n.name <> ALL (readable);
                IF problem IS NOT NULL THEN
                    RAISE EXCEPTION '% has no column % that triggers can read', label, problem
                        USING ERRCODE = 'undefined_column', HINT = 'Add the column in an earlier migration.';
                END IF;
                IF spec.key = '{}' AND (spec.every OR spec.columns <> '{}') THEN
                    RAISE EXCEPTION '% has no primary key, and columns need a key', label
                        USING HINT = 'Name key columns, or no columns.';
                END IF;
                CONTINUE;
            END IF;
            -- Columns that no longer exist are not a loss.
            IF other.has_primary_key OR NOT readable @> other.key THEN
                other.key := primary_key;
            END IF;
            other.columns := ARRAY(
                SELECT n.name FROM unnest(other.columns) WITH ORDINALITY AS n (name, place)
                WHERE n.name = ANY (readable) AND other.key <> '{}' ORDER BY n.place
            );
            other.watched := ARRAY(
                SELECT n.name FROM unnest(other.watched) WITH ORDINALITY AS n (name, place)
                    WHERE n.name = ANY (readable) ORDER BY n.place
            );
            other.every := other.every AND other.key <> '{}';
            other.old := other.old AND (other.every OR other.columns <> '{}');
            IF (other.outbox, other.channel, other.key) IS DISTINCT FROM (spec.outbox, spec.channel, spec.key) THEN
                -- The present installation conflicts with the group already.
                CONTINUE WHEN other.place = 2 AND is_installed;
                RAISE EXCEPTION 'the options of % conflict with %: mode, channel or key differ', label, other.origin
                    USING HINT = 'List the same in the script, or generate it with --narrow.';
            END IF;
            -- Columns of the present installation come first, so nothing changes if they cover the listed ones.
            SELECT
                CASE WHEN other.place = 1 THEN other.columns || spec.columns ELSE spec.columns || other.columns END AS columns,
                CASE WHEN other.place = 1 THEN other.watched || spec.watched ELSE spec.watched || other.watched END AS watched
            INTO item;
            spec.columns := ARRAY(
                SELECT n.name FROM unnest(item.columns) WITH ORDINALITY AS n (name, place) GROUP BY n.name ORDER BY min(n.place)
            );
            spec.watched := CASE WHEN other.watched <> '{}' AND spec.watched <> '{}' THEN ARRAY(
                SELECT n.name FROM unnest(item.watched) WITH ORDINALITY AS n (name, place) GROUP BY n.name ORDER BY min(n.place)
            ) ELSE '{}' END;
            spec.operations := ARRAY(
                SELECT p.operation FROM unnest('{insert,update,delete,truncate}'::text[]) WITH ORDINALITY AS p (operation, place)
                WHERE p.operation = ANY (spec.operations || other.operations) ORDER BY p.place
            );
            spec.every := spec.every OR other.every;
            spec.old := spec.old OR other.old;
            spec.replicated := spec.replicated OR other.replicated;
            -- A null limit is the default.
            spec.value_limit := CASE
                WHEN spec.value_limit IS NOT NULL AND other.value_limit IS NOT NULL THEN greatest(spec.value_limit, other.value_limit)
                WHEN coalesce(spec.value_limit, other.value_limit) > {{default_limit}} THEN coalesce(spec.value_limit, other.value_limit)
            END;
        END LOOP;
        IF spec.every THEN
            spec.columns := readable;
        END IF;
        value_limit := CASE WHEN spec.outbox THEN coalesce(spec.value_limit, {{default_limit}}) ELSE 7999 END;
        comparing := spec.old OR spec.watched <> '{}';
        -- Partitions share the primary key; children may repeat it.
        is_unique := spec.key @> primary_key AND primary_key <> '{}'
            AND (jsonb_array_length(members) = 1 OR members #>> '{0,kind}' <> 'r');

