INSERT INTO pgherald.outbox_relation (id, schema_name, table_name, key_columns, column_types)
    VALUES ({{relation}}, {{schema}}, {{table}}, {{key_names}}, {{types}}) ON CONFLICT DO NOTHING;
