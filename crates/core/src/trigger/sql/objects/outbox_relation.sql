INSERT INTO pgherald.outbox_relation (id, schema_name, table_name, key_columns)
    VALUES ({{relation}}, {{schema}}, {{table}}, {{key_names}}) ON CONFLICT DO NOTHING;
