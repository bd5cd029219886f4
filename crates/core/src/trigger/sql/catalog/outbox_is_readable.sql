-- Whether this role may read the rows that the outbox relies on. By the catalog: to_regclass fails without a right on the schema.
SELECT pg_catalog.count(*) OPERATOR(pg_catalog.=) 3 AND coalesce(
    pg_catalog.bool_and(
        pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
    ),
    false
)
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE n.nspname OPERATOR(pg_catalog.=) 'pgherald' AND c.relkind OPERATOR(pg_catalog.=) 'r'
    AND c.relname OPERATOR(pg_catalog.=) ANY (ARRAY['outbox_retention', 'outbox_part', 'outbox_relation']::pg_catalog.name[])
