#variable_conflict use_column
DECLARE
    -- The tables with their options, as `pgherald install --from` reads them.
    tables CONSTANT pg_catalog.jsonb := {{tables}};
    -- Whether to remove what is installed on these tables and not listed above. Otherwise it is kept.
    narrow CONSTANT pg_catalog.bool := {{narrow}};

    -- The rest is the same in all scripts of pgherald {{release}} for tables of these modes.
    current_version CONSTANT pg_catalog.int4 := {{version}};
    -- The statement that inspects the tables, as `pgherald install` does.
    inspection CONSTANT pg_catalog.text := {{inspect}};
    -- The parts of the functions that depend on the type of a column.
    fragments CONSTANT pg_catalog.jsonb := {{fragments}};
    -- The types by which texts are read, by the names of catalog types.
    type_names CONSTANT pg_catalog.jsonb := {{type_names}};
    key_type_names CONSTANT pg_catalog.jsonb := {{key_type_names}};
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
    outbox_rows CONSTANT pg_catalog.text := {{outbox_rows}};
    outbox_seed CONSTANT pg_catalog.text := {{outbox_seed}};
    outbox_migrations CONSTANT pg_catalog.text[] := {{outbox_migrations}};
    lock_installers CONSTANT pg_catalog.text := {{lock}};
    make_schema CONSTANT pg_catalog.text := {{schema}};
    require_shared CONSTANT pg_catalog.text := {{require}};
    unlock_installers CONSTANT pg_catalog.text := {{unlock}};

    is_new pg_catalog.bool;
    is_complete pg_catalog.bool;
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

