-- Function $1 of schema pgherald: its comment and body.
SELECT pg_catalog.obj_description(p.oid, 'pg_proc'), p.prosrc
FROM pg_catalog.pg_proc AS p
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
WHERE n.nspname = 'pgherald' AND p.proname = $1
