ELSIF TG_LEVEL OPERATOR(pg_catalog.=) 'ROW' THEN
            pgherald_as_installed := false;
            -- Reading a field fails if it is gone, or if it had another type when this session planned the expression. So the
            -- fields that the statements below read are tried first. This block only reads: it takes no transaction id.
            BEGIN
                IF TG_OP OPERATOR(pg_catalog.=) 'DELETE' THEN
                    pgherald_as_installed := {{old}};
                ELSE
                    pgherald_as_installed := {{new}};
                END IF;
            EXCEPTION WHEN OTHERS THEN
                -- pgherald.rows_query writes a query for the present columns.
            END;
