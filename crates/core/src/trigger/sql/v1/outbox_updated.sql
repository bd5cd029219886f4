
                SELECT {{key}} AS k, {{columns}} AS c, NULL::pg_catalog.text AS o, NULL::pg_catalog.text[] AS d
                FROM pgherald_new
                UNION ALL
                -- What was known under another key is gone.
                SELECT o.k, NULL, NULL, NULL FROM (SELECT {{key}} AS k, {{parts}} FROM pgherald_old) AS o
                WHERE NOT EXISTS (SELECT FROM (SELECT {{parts}} FROM pgherald_new) AS n WHERE {{same}})
