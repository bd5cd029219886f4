DECLARE
    functions CONSTANT text[] := {{functions}}::text[];
    stranger text;
    renamed text;
BEGIN
    IF pg_catalog.to_regprocedure(
        'pgherald.notify_rows(text,text,text,text,text[],text[],text[])'
    ) IS NULL THEN
        RAISE EXCEPTION 'pgherald.notify_rows was uninstalled since this was planned';
    END IF;
    IF pg_catalog.to_regprocedure(
        'pgherald.rows_query(oid,text,text,text[],text[],text[],integer,text[],boolean,boolean,boolean)'
    ) IS NULL THEN
        RAISE EXCEPTION 'pgherald.rows_query was uninstalled since this was planned';
    END IF;
    -- The owner of one of these could replace its code, which would then run with the rights of this role.
    SELECT o.rolname INTO stranger
    FROM pg_catalog.pg_namespace AS n
    CROSS JOIN LATERAL (
        SELECT n.nspowner AS owner
        UNION ALL SELECT p.proowner FROM pg_catalog.pg_proc AS p
        WHERE p.pronamespace = n.oid AND (
            p.pronargs = 0 AND p.proname = ANY (functions::name[])
            OR p.proname IN ('read_cursor', 'trim_outbox', 'restored', 'begin_history', 'history', 'rows_query')
            OR p.proname = 'notify_rows'
            AND pg_catalog.oidvectortypes(p.proargtypes) = 'text, text, text, text, text[], text[], text[]'
        )
        UNION ALL SELECT c.relowner FROM pg_catalog.pg_class AS c
        WHERE c.relnamespace = n.oid AND c.relname ~ '^(outbox|consumer|parked_event|server_run)'
    ) AS x
    JOIN pg_catalog.pg_roles AS o ON o.oid = x.owner
    WHERE n.nspname = 'pgherald' AND NOT o.rolsuper AND o.rolname <> current_user
    LIMIT 1;
    IF stranger IS NOT NULL THEN
        RAISE EXCEPTION 'schema pgherald or a function of it belongs to %', stranger;
    END IF;
    -- A function announces the changes of one table. Since the plan was made, tables may have been renamed, or a function of
    -- the same name may have been created for another table.
    SELECT t.tgrelid::regclass::text INTO renamed
    FROM unnest(functions, {{tables}}::text[]) AS f (name, of)
    JOIN pg_catalog.pg_proc AS p ON p.proname = f.name AND p.pronamespace = 'pgherald'::regnamespace AND p.pronargs = 0
    JOIN pg_catalog.pg_trigger AS t ON t.tgfoid = p.oid AND t.tgname ~ '^pgherald_notify_[a-z]+$'
    WHERE t.tgrelid <> f.of::regclass
    LIMIT 1;
    IF renamed IS NOT NULL THEN
        RAISE EXCEPTION 'triggers of % were changed, or the table was renamed, since this was planned; plan again', renamed
            USING ERRCODE = 'serialization_failure';
    END IF;
END
