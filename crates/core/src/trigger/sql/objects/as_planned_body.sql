DECLARE
    changed text;
BEGIN
    SELECT f.of INTO changed
    FROM unnest({{functions}}::text[], {{tables}}::text[], {{before}}::text[], {{after}}::text[]) AS f (name, of, before, after)
    LEFT JOIN pg_catalog.pg_proc AS p
        ON p.proname = f.name AND p.pronamespace = pg_catalog.to_regnamespace('pgherald') AND p.pronargs = 0
    LEFT JOIN pg_catalog.pg_description AS d
        ON d.objoid = p.oid AND d.classoid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objsubid = 0
    WHERE d.description IS DISTINCT FROM f.before AND d.description IS DISTINCT FROM f.after
    LIMIT 1;
    IF changed IS NOT NULL THEN
        RAISE EXCEPTION 'something else was installed on % since this was planned; plan again', changed
            USING ERRCODE = 'serialization_failure';
    END IF;
END
