-- The functions made for the relations $1, which may be null, each with the relation's place in the array, from 1: the one
-- named $2, and whichever the relation's own triggers call, should it have been renamed.
WITH made AS (
    SELECT a.place, p.oid
    FROM pg_catalog.unnest($2) WITH ORDINALITY AS a (function, place)
    JOIN pg_catalog.pg_proc AS p ON p.proname OPERATOR(pg_catalog.=) a.function
    UNION
    SELECT a.place, g.tgfoid
    FROM pg_catalog.unnest($1) WITH ORDINALITY AS a (oid, place)
    JOIN pg_catalog.pg_trigger AS g ON g.tgrelid OPERATOR(pg_catalog.=) a.oid
    WHERE g.tgname OPERATOR(pg_catalog.~) '^pgherald_notify_[a-z]+$'
)
SELECT m.place, p.proname::pg_catalog.text
FROM made AS m
JOIN pg_catalog.pg_proc AS p ON p.oid OPERATOR(pg_catalog.=) m.oid
JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
WHERE n.nspname OPERATOR(pg_catalog.=) 'pgherald' AND p.proname OPERATOR(pg_catalog.~) '^notify_[0-9a-f]{16}$' AND p.pronargs OPERATOR(pg_catalog.=) 0
ORDER BY 1, 2
