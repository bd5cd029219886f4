
                -- All rows have the one key that they had before. Usually it is one row. Every writer pays for this, so it is
                -- as cheap as possible.
                {{rows}}
                WHERE NOT EXISTS (
                    SELECT FROM pgherald_old
                    WHERE (({{parts}}) OPERATOR(pg_catalog.=) (SELECT {{parts}} FROM pgherald_new LIMIT 1)) IS NOT TRUE
                )
