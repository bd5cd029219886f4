
                -- All of them known under the one key as before, which is most often one row: as cheap as can be, for each
                -- writer pays for it.
                SELECT {{key}} AS k, {{columns}} AS c, NULL::pg_catalog.text AS o, NULL::pg_catalog.text[] AS d FROM pgherald_new
                WHERE NOT EXISTS (
                    SELECT FROM pgherald_old
                    WHERE (({{parts}}) OPERATOR(pg_catalog.=) (SELECT {{parts}} FROM pgherald_new LIMIT 1)) IS NOT TRUE
                )
