
                SELECT coalesce(n.k, o.k) AS k, n.c, NULL::pg_catalog.text AS o, NULL::pg_catalog.text[] AS d
                FROM (SELECT {{key}} AS k, {{columns}} AS c, {{parts}} FROM pgherald_new) AS n
                -- What was known under another key is gone. A full join is never a nested loop, which a plan made for
                -- one row would be, and which would take the square of the time for many.
                FULL JOIN (SELECT {{distinct}}{{key}} AS k, {{parts}} FROM pgherald_old) AS o ON {{same}}
