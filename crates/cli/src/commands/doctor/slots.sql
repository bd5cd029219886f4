-- Inactive replication slots that prevent VACUUM from removing rows deleted more than $1 transactions ago.
SELECT format('slot %s is inactive, and has held back VACUUM for %s transactions', slot_name,
        greatest(age(xmin), age(catalog_xmin))),
    format('SELECT pg_drop_replication_slot(%L);', slot_name)
FROM pg_catalog.pg_replication_slots
WHERE NOT active AND greatest(age(xmin), age(catalog_xmin)) > $1
ORDER BY slot_name
