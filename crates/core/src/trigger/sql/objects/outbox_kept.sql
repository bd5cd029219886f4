
                -- All of them known under the one key as before, which is most often one row: as cheap as can be, for each
                -- writer pays for it.
                {{rows}}
                WHERE NOT EXISTS (
                    SELECT FROM pgherald_old
                    WHERE (({{parts}}) OPERATOR(pg_catalog.=) (SELECT {{parts}} FROM pgherald_new LIMIT 1)) IS NOT TRUE
                )
