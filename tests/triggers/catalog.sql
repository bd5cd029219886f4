SELECT string_agg(line, E'\n' ORDER BY line)
FROM (
    SELECT format(
        '%s: %s: %s',
        i.type, i.identity, obj_description(d.objid, d.classid::regclass::name)
    ) AS line
    FROM (
        SELECT 'pg_namespace'::regclass AS classid, oid AS objid FROM pg_namespace
        UNION ALL SELECT 'pg_class'::regclass, oid FROM pg_class
        UNION ALL SELECT 'pg_proc'::regclass, oid FROM pg_proc
        UNION ALL SELECT 'pg_trigger'::regclass, oid FROM pg_trigger
        UNION ALL SELECT 'pg_type'::regclass, oid FROM pg_type
        UNION ALL SELECT 'pg_language'::regclass, oid FROM pg_language
        UNION ALL SELECT 'pg_default_acl'::regclass, oid FROM pg_default_acl
    ) AS d
    CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, 0) AS i
    WHERE d.objid >= 16384 AND i.identity !~ '^(pg_toast|pg_temp)'
    UNION ALL
    SELECT format('class %s %s %s', oid::regclass, relhastriggers AND false, relacl)
    FROM pg_class WHERE oid >= 16384 AND relnamespace <> 'pg_toast'::regnamespace
    UNION ALL
    SELECT format('function %s %s %s', p.oid::regprocedure, md5(prosrc), xmin)
    FROM pg_proc AS p WHERE p.oid >= 16384
) AS listing
