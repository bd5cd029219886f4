IF (pgherald_clock OPERATOR(pg_catalog.&) 3) OPERATOR(pg_catalog.=) 0 THEN
                {{first}}
            ELSIF (pgherald_clock OPERATOR(pg_catalog.&) 3) OPERATOR(pg_catalog.=) 1 THEN
                {{second}}
            ELSIF (pgherald_clock OPERATOR(pg_catalog.&) 3) OPERATOR(pg_catalog.=) 2 THEN
                {{third}}
            ELSE
                {{fourth}}
            END IF;
