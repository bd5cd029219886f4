
                -- The two tables list the rows in the same order. A full join is never a nested loop, which a plan made for
                -- one row would be, and which would take the square of the time for many.
                SELECT e.k, e.c, e.o, e.d
                FROM (SELECT row_number() OVER () AS i, {{key}} AS k, {{columns}} AS c{{watched}} FROM pgherald_new) AS n
                FULL JOIN (SELECT row_number() OVER () AS i, {{key}} AS k, {{old}} AS c{{watched}} FROM pgherald_old) AS o
                    USING (i)
                CROSS JOIN LATERAL (
                    -- What was known under another key is gone.
                    SELECT o.k, NULL::text AS c, o.c AS o, NULL::text[] AS d
                    WHERE o.k IS NOT NULL AND o.k IS DISTINCT FROM n.k
                    UNION ALL
                    SELECT n.k, n.c, {{before}}, {{changed}} WHERE n.k IS NOT NULL
                ) AS e{{where}}
                ORDER BY i
