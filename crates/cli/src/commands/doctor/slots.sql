-- Slots that nobody uses, and that keep what was deleted more than $1 transactions ago.
SELECT format('nobody uses slot %s, and it holds back what is %s transactions old', slot_name,
        greatest(age(xmin), age(catalog_xmin))),
    format('SELECT pg_drop_replication_slot(%L);', slot_name)
FROM pg_catalog.pg_replication_slots
WHERE NOT active AND greatest(age(xmin), age(catalog_xmin)) > $1
ORDER BY slot_name
