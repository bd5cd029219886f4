
                -- Rows are paired by key. A full join is never a nested loop. A plan for one row would be one, and would take
                -- quadratic time for many rows.
                SELECT coalesce(n.k, o.k) AS k, {{new}} AS c, {{old}} AS o, {{changed}} AS d,
                    CASE WHEN n.k IS NULL AND {{fewer}} THEN 'D' ELSE 'U' END::pg_catalog."char" AS p
                FROM ({{after}}) AS n
                FULL JOIN ({{before}}) AS o
                    ON n.k OPERATOR(pg_catalog.=) (o.k COLLATE pg_catalog."C"){{place}}{{where}}
