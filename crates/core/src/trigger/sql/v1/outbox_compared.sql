
                -- The two tables list the rows in the same order.
                SELECT e.k, e.c, e.o, e.d
                FROM (SELECT row_number() OVER () AS i, {{key}} AS k, {{columns}} AS c{{watched}} FROM pgherald_new) AS n
                JOIN (SELECT row_number() OVER () AS i, {{key}} AS k, {{old}} AS c{{watched}} FROM pgherald_old) AS o
                    USING (i)
                CROSS JOIN LATERAL (
                    -- What was known under another key is gone.
                    SELECT o.k, NULL::text AS c, o.c AS o, NULL::text[] AS d WHERE o.k <> n.k
                    UNION ALL
                    SELECT n.k, n.c, o.c, {{changed}}
                ) AS e{{where}}
                ORDER BY i
