#variable_conflict use_column
DECLARE
    -- The tables with their options, as `pgherald install --from` reads them.
    tables CONSTANT pg_catalog.jsonb := {{tables}};
    -- Whether to remove what is installed on these tables and is not listed above. Otherwise it is kept.
    narrow CONSTANT pg_catalog.bool := {{narrow}};

    -- The rest is the same in all scripts of pgherald {{release}}.
    current_version CONSTANT pg_catalog.int4 := {{version}};
    -- Reads everything that is known about the tables, as `pgherald install` does.
    inspection CONSTANT pg_catalog.text := {{inspect}};
    -- The parts of the functions that depend on the type of a column.
    fragments CONSTANT pg_catalog.jsonb := {{fragments}};
    -- How the text of a value is read, by the name of its type.
    type_names CONSTANT pg_catalog.jsonb := {{type_names}};
    -- The functions of tables. Each letter before a line stands for a set of options whose functions have the line.
    notify_body CONSTANT pg_catalog.text := {{notify_body}};
    outbox_body CONSTANT pg_catalog.text := {{outbox_body}};
    outbox_updated CONSTANT pg_catalog.text := {{outbox_updated}};
    rows_query_call CONSTANT pg_catalog.text := {{rows_query_call}};
    table_function CONSTANT pg_catalog.text := {{table_function}};
    table_trigger CONSTANT pg_catalog.text := {{table_trigger}};
    table_relation CONSTANT pg_catalog.text := {{table_relation}};
    -- The functions that all tables share, and the outbox.
    notify_rows CONSTANT pg_catalog.text := {{notify_rows}};
    notify_rows_body CONSTANT pg_catalog.text := {{notify_rows_body}};
    rows_query CONSTANT pg_catalog.text := {{rows_query}};
    rows_query_body CONSTANT pg_catalog.text := {{rows_query_body}};
    outbox_guard CONSTANT pg_catalog.text := {{outbox_guard}};
    outbox_functions CONSTANT pg_catalog.text := {{outbox_functions}};
    outbox_seed CONSTANT pg_catalog.text := {{outbox_seed}};
    outbox_migrations CONSTANT pg_catalog.text[] := {{outbox_migrations}};
    lock_installers CONSTANT pg_catalog.text := {{lock}};
    make_schema CONSTANT pg_catalog.text := {{schema}};
    require_shared CONSTANT pg_catalog.text := {{require}};
    unlock_installers CONSTANT pg_catalog.text := {{unlock}};

    is_new pg_catalog.bool;
    catalog pg_catalog.jsonb;
    functions pg_catalog.jsonb;
    notes pg_catalog.jsonb;
    triggers pg_catalog.jsonb;
    all_members pg_catalog.jsonb;
    all_columns pg_catalog.jsonb;
    type_texts pg_catalog.jsonb;
    required pg_catalog.jsonb;
    installed_outbox pg_catalog.jsonb;
    installed_version pg_catalog.int4;
    entry pg_catalog.jsonb;
    label pg_catalog.text;
    root pg_catalog.text;
    members pg_catalog.jsonb;
    table_columns pg_catalog.jsonb;
    readable pg_catalog.text[];
    primary_key pg_catalog.text[];
    own pg_catalog.text[];
    superseded pg_catalog.text[];
    its_function pg_catalog.text;
    its_note pg_catalog.jsonb;
    is_installed pg_catalog.bool;
    is_unique pg_catalog.bool;
    item record;
    other record;
    spec record;
    value_limit pg_catalog.int8;
    problem pg_catalog.text;
    texts pg_catalog.jsonb;
    types pg_catalog.text;
    hash pg_catalog.numeric;
    hashed pg_catalog.bytea;
    relation_id pg_catalog.int8;
    needs_settings pg_catalog.bool;
    names_objects pg_catalog.bool;
    comparing pg_catalog.bool;
    settings pg_catalog.text;
    note pg_catalog.text;
    its_triggers pg_catalog.text[];
    all_functions pg_catalog.text[];
    all_tables pg_catalog.text[];
BEGIN
FOR attempt IN 1 .. 20 LOOP
BEGIN
    is_new := pg_catalog.to_regnamespace('pgherald') IS NULL;
    EXECUTE pg_catalog.replace(lock_installers, '@{schema}@', CASE WHEN is_new THEN make_schema ELSE '' END);

    -- What is there.
    EXECUTE 'SELECT jsonb_agg(jsonb_build_object(''kind'', o.kind, ''of'', o.properties::jsonb)) FROM ('
        || inspection || ') AS o (kind, properties)'
        INTO catalog
        USING ARRAY(SELECT e.value ->> 'schema' FROM jsonb_array_elements(tables) AS e),
            ARRAY(SELECT e.value ->> 'table' FROM jsonb_array_elements(tables) AS e),
            false, {{notify_rows_arguments}}::text, {{rows_query_arguments}}::text;
    SELECT
        coalesce(jsonb_object_agg(o.value #>> '{of,name}', o.value -> 'of') FILTER (WHERE o.value ->> 'kind' = 'function'), '{}'),
        coalesce(jsonb_agg(o.value -> 'of') FILTER (WHERE o.value ->> 'kind' = 'trigger'), '[]'),
        coalesce(jsonb_agg(o.value -> 'of') FILTER (WHERE o.value ->> 'kind' = 'outbox') -> 0, 'null')
    INTO functions, triggers, installed_outbox
    FROM jsonb_array_elements(catalog) AS o;
    -- The members and the columns of each table, by its number.
    SELECT coalesce(jsonb_object_agg(m.root, m.members), '{}') INTO all_members
    FROM (
        SELECT o.value #>> '{of,root}' AS root, jsonb_agg(
            o.value -> 'of' ORDER BY (o.value #>> '{of,is_root}')::bool DESC, o.value #>> '{of,schema}' COLLATE "C",
                o.value #>> '{of,table}' COLLATE "C"
        ) AS members
        FROM jsonb_array_elements(catalog) AS o WHERE o.value ->> 'kind' = 'member' GROUP BY 1
    ) AS m;
    SELECT coalesce(jsonb_object_agg(c.root, c.columns), '{}') INTO all_columns
    FROM (
        SELECT o.value #>> '{of,root}' AS root, jsonb_agg(o.value -> 'of' ORDER BY (o.value #>> '{of,number}')::int4) AS columns
        FROM jsonb_array_elements(catalog) AS o WHERE o.value ->> 'kind' = 'column' GROUP BY 1
    ) AS c;
    notes := '{}';
    FOR item IN SELECT f.key AS name, f.value ->> 'comment' AS comment FROM jsonb_each(functions) AS f LOOP
        BEGIN
            notes := notes || jsonb_build_object(item.name, item.comment::jsonb);
        EXCEPTION WHEN invalid_text_representation THEN
            NULL;  -- not a comment of pgherald
        END;
    END LOOP;
    SELECT n.key INTO problem FROM jsonb_each(notes) AS n WHERE (n.value ->> 'version')::int4 > current_version;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION 'pgherald.% was installed by a later version of pgherald', problem
            USING HINT = 'Generate the script with that version.';
    END IF;
    SELECT format('%s belongs to %s', CASE o.value ->> 'kind'
        WHEN 'server' THEN 'schema pgherald' WHEN 'outbox' THEN 'pgherald.outbox' ELSE 'pgherald.' || (o.value #>> '{of,name}')
    END, o.value #>> '{of,owner}')
    INTO problem
    FROM jsonb_array_elements(catalog) AS o
    WHERE o.value ->> 'kind' = ANY ('{server,outbox,function}') AND NOT (o.value #>> '{of,is_trusted}')::bool;
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION '%, who could make the triggers run anything with your rights', problem
            USING HINT = 'Run the script as that role, or let a superuser own schema pgherald and all that is in it.';
    END IF;

    -- The texts of types: those of elements and fields first.
    type_texts := '{}';
    FOR depth IN 0 .. {{max_depth}} LOOP
        WITH RECURSIVE type AS (
            SELECT o.value #>> '{of,oid}' AS oid, o.value -> 'of' AS of
            FROM jsonb_array_elements(catalog) AS o WHERE o.value ->> 'kind' = 'type'
        ), base AS (
            SELECT t.oid AS of, t.oid FROM type AS t
            UNION ALL
            SELECT b.of, t.of ->> 'base' FROM base AS b JOIN type AS t ON t.oid = b.oid WHERE t.of ->> 'base' IS NOT NULL
        )
        SELECT coalesce(jsonb_object_agg(b.of, CASE
            WHEN depth > 0 AND t.of ->> 'element' IS NOT NULL THEN concat(
                '[', coalesce(type_texts ->> (t.of ->> 'element'), '"text"'),
                ',' || nullif(to_json(coalesce(t.of ->> 'delimiter', ','))::text, '","'), ']'
            )
            WHEN depth > 0 AND jsonb_typeof(t.of -> 'fields') = 'array' THEN concat('{', (
                SELECT string_agg(
                    concat(to_json(f.value ->> 0), ':', coalesce(type_texts ->> (f.value ->> 1), '"text"')), ',' ORDER BY f.place
                )
                FROM jsonb_array_elements(t.of -> 'fields') WITH ORDINALITY AS f (value, place)
            ), '}')
            WHEN t.of ->> 'element' IS NOT NULL OR jsonb_typeof(t.of -> 'fields') = 'array' THEN '"text"'
            ELSE to_json(coalesce(type_names ->> (t.of ->> 'name'), 'text'))::text
        END), '{}')
        INTO type_texts
        FROM base AS b JOIN type AS t ON t.oid = b.oid
        WHERE t.of ->> 'base' IS NULL;
    END LOOP;

    -- What all tables share.
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
        ELSE
            EXECUTE outbox_seed;
        END IF;
    END IF;
    IF to_regclass('pgherald.consumer_requirement') IS NOT NULL AND NOT narrow THEN
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

    all_functions := '{}';
    all_tables := '{}';
    FOR entry IN SELECT e.value FROM jsonb_array_elements(tables) AS e LOOP
        label := concat(entry ->> 'schema', '.', entry ->> 'table');

        -- The table, its partitions and children; and its columns.
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

        -- Its function: the one that its own triggers call, or that a former table of its name has left behind.
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

        -- Its options: those listed; unless narrow, together with those of the present installation and those that groups require.
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
                        ON o.value #>> '{place,table}' = root AND c.value ->> 'number' = o.value #>> ARRAY['place', 'columns', e.name]
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
                SELECT n.name INTO problem FROM unnest(spec.key || spec.columns || spec.watched) AS n (name) WHERE n.name <> ALL (readable);
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
            -- Columns that are gone are no loss.
            IF other.has_primary_key OR NOT readable @> other.key THEN
                other.key := primary_key;
            END IF;
            other.columns := ARRAY(
                SELECT n.name FROM unnest(other.columns) WITH ORDINALITY AS n (name, place)
                WHERE n.name = ANY (readable) AND other.key <> '{}' ORDER BY n.place
            );
            other.watched := ARRAY(
                SELECT n.name FROM unnest(other.watched) WITH ORDINALITY AS n (name, place) WHERE n.name = ANY (readable) ORDER BY n.place
            );
            other.every := other.every AND other.key <> '{}';
            other.old := other.old AND (other.every OR other.columns <> '{}');
            IF (other.outbox, other.channel, other.key) IS DISTINCT FROM (spec.outbox, spec.channel, spec.key) THEN
                -- An installation that conflicts with a group was chosen before.
                CONTINUE WHEN other.place = 2 AND is_installed;
                RAISE EXCEPTION 'the options of % conflict with %: mode, channel or key differ', label, other.origin
                    USING HINT = 'List the same in the script, or generate it with --narrow.';
            END IF;
            -- Unless it lists nothing new, the present order stays.
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
            -- No limit stands for the default.
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
                coalesce(type_texts ->> (c.value ->> 'type_oid'), '"text"') AS type,
                q.quoted, concat(CASE WHEN strpos(l.name, chr(92)) > 0 THEN ' ' END, quote_literal(l.name)) AS literal,
                f.texts,
                f.texts ->> ('checks' || s.suffix) AS checks,
                f.texts ->> ('new_readable' || s.suffix) AS new_readable,
                f.texts ->> ('old_readable' || s.suffix) AS old_readable
            FROM listed AS l
            JOIN jsonb_array_elements(table_columns) AS c ON c.value ->> 'name' = l.name
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
                            concat(CASE WHEN strpos(c.value ->> 'exact_type', chr(92)) > 0 THEN ' ' END, quote_literal(c.value ->> 'exact_type'))
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
                        || ' OPERATOR(pg_catalog.||) ' || (p.texts ->> 'value') || ' OPERATOR(pg_catalog.||) ', '' ORDER BY p.place
                ) FILTER (WHERE p.list = 'columns') AS columns,
                string_agg(p.texts ->> 'comparable', ', ' ORDER BY p.rank, p.place) FILTER (WHERE p.list = ANY ('{key,watched}')) AS watched,
                string_agg(p.texts ->> 'comparable', ', ' ORDER BY p.place) FILTER (WHERE p.list = 'key') AS parts,
                string_agg(format('NEW.%1$s AS %1$s', p.quoted), ', ' ORDER BY p.rank, p.place) FILTER (WHERE t.is_field) AS new_fields,
                string_agg(format('OLD.%1$s AS %1$s', p.quoted), ', ' ORDER BY p.rank, p.place) FILTER (WHERE t.is_field) AS old_fields,
                string_agg(format('NEW.%1$s AS %1$s', p.quoted), ', ' ORDER BY p.rank, p.place) FILTER (WHERE p.list = ANY ('{key,watched}')) AS new_watched,
                string_agg(format('OLD.%1$s AS %1$s', p.quoted), ', ' ORDER BY p.rank, p.place) FILTER (WHERE p.list = ANY ('{key,watched}')) AS old_watched,
                string_agg(p.new_readable, ' AND ' ORDER BY p.place) FILTER (WHERE p.list = 'read') AS new_readable,
                string_agg(p.old_readable, ' AND ' ORDER BY p.place) FILTER (WHERE p.list = 'read') AS old_readable,
                string_agg(p.checks, ' AND ' ORDER BY p.place) FILTER (WHERE p.list = 'read') AS checks,
                string_agg('NULL::pg_catalog.void AS ' || p.quoted, ', ' ORDER BY p.place) FILTER (WHERE p.list = 'read') AS gone,
                string_agg(format('%s AS v%s', p.quoted, p.place), ', ' ORDER BY p.place) FILTER (WHERE p.list = 'read') AS numbered,
                string_agg(format(', %s AS w%s', p.texts ->> 'comparable', p.place), '' ORDER BY p.place) FILTER (WHERE p.list = 'watched') AS watched_values,
                string_agg(format(' OR n.w%1$s IS DISTINCT FROM o.w%1$s', p.place), '' ORDER BY p.place) FILTER (WHERE p.list = 'watched') AS watched_differ,
                string_agg(format(', %s AS c%s', p.texts ->> 'comparable_within', p.place), '' ORDER BY p.place) FILTER (WHERE p.list = 'columns') AS column_values,
                string_agg(format('CASE WHEN %s THEN %s END', p.texts ->> 'differs', p.literal), ', ' ORDER BY p.place) FILTER (WHERE p.list = 'columns') AS changed_names,
                string_agg(p.literal, ', ' ORDER BY p.rank, p.place) FILTER (WHERE p.list = ANY ('{key,columns}')) AS query_names,
                string_agg(
                    concat(CASE WHEN strpos(p.properties ->> 'exact_type', chr(92)) > 0 THEN ' ' END, quote_literal(p.properties ->> 'exact_type')),
                    ', ' ORDER BY p.rank, p.place
                ) FILTER (WHERE p.list = ANY ('{key,columns}')) AS query_types,
                string_agg(
                    concat(CASE WHEN strpos(t.value, chr(92)) > 0 THEN ' ' END, quote_literal(t.value)), ', ' ORDER BY p.rank, p.place
                ) FILTER (WHERE p.list = ANY ('{key,columns}')) AS query_values,
                string_agg(p.literal, ', ' ORDER BY p.place) FILTER (WHERE p.list = 'watched') AS query_watched,
                coalesce(bool_or(p.texts ? 'settings'), false) AS needs_settings,
                coalesce(bool_or((p.properties ->> 'names_objects')::bool), false) AS names_objects,
                string_agg(concat(to_json(p.name), ':', p.type), ',' ORDER BY p.rank, p.place) FILTER (
                    WHERE p.type <> '"text"' AND p.texts ? 'is_text'
                        AND (p.list = 'key' OR p.list = 'columns' AND p.name <> ALL (spec.key))
                ) AS types,
                string_agg(concat(to_json(p.name), ':', p.properties ->> 'number'), ',' ORDER BY p.name COLLATE "C") FILTER (WHERE p.list = 'read') AS numbers
            FROM part AS p
            CROSS JOIN LATERAL (
                SELECT p.texts ->> CASE WHEN spec.outbox THEN 'unlimited' ELSE 'limited' END AS key,
                    p.texts ->> CASE WHEN p.list = 'columns' THEN 'value' WHEN spec.outbox THEN 'unlimited' ELSE 'limited' END AS value,
                    concat(CASE p.place WHEN 0 THEN '{' ELSE ',' END, to_json(p.name), ':') AS member,
                    p.list = 'read' AND spec.outbox OR p.list = ANY ('{key,columns}') AND NOT spec.outbox AS is_field
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

        -- The number that stands for the table in the outbox: FNV-1a of its name and key, and of the types of its columns.
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
                (2, 'updated', outbox_updated, chr(97 + 8 * is_unique::int4 + 4 * (spec.watched <> '{}')::int4 + 2 * spec.old::int4 + (spec.columns <> '{}')::int4)),
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
            SELECT texts || jsonb_build_object(item.name, t.text, item.name || '_quoted', quote_literal(chr(10) || t.text)) INTO texts
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
        -- The members in the order in which serde_json writes them.
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

        -- Its triggers.
        its_triggers := '{}';
        FOR item IN
            SELECT d.*,
                t.value ->> 'function' IS DISTINCT FROM its_function
                    OR t.value ->> 'events' <> d.events::text
                    OR t.value ->> 'new_table' IS DISTINCT FROM d.new_table OR t.value ->> 'old_table' IS DISTINCT FROM d.old_table
                    OR NOT (t.value ->> 'is_unconditional')::bool
                    -- It fires for replicated rows until it is created again.
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
                ON t.value ->> 'schema' = d.member ->> 'schema' AND t.value ->> 'table' = d.member ->> 'table' AND t.value ->> 'name' = d.name
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
    -- Other transactions write to the tables. Everything was undone, and no lock is held meanwhile.
    IF attempt = 20 THEN
        RAISE EXCEPTION 'cannot change the triggers while other transactions use the tables'
            USING ERRCODE = 'lock_not_available', HINT = 'Run the script again later.';
    END IF;
    PERFORM pg_catalog.pg_sleep(least(2, 0.1 * power(2, least(attempt, 6) - 1)));
END;
END LOOP;
END
