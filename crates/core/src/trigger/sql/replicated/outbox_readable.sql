ELSIF TG_LEVEL OPERATOR(pg_catalog.=) 'ROW' THEN
            pgherald_as_installed := false;
            -- To read a field that is gone, or that had another type when this session planned it, is an error. So it is tried
            -- before the statements below, which read the same. This block only reads: it takes no transaction id.
            BEGIN
                IF TG_OP OPERATOR(pg_catalog.=) 'DELETE' THEN
                    pgherald_as_installed := {{old}};
                ELSE
                    pgherald_as_installed := {{new}};
                END IF;
            EXCEPTION WHEN OTHERS THEN
                -- The rows are listed by a query that is written for what the table is now.
            END;
