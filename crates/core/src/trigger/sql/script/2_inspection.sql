    -- Inspect the database.
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
    -- The members and the columns of each table, by its OID.
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

