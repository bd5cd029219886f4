IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
            -- Reading a field fails if it is gone, or if it had another type when this session planned the expression.
            BEGIN
                pgherald_as_installed := {{readable}};
                IF pgherald_as_installed THEN
                    IF NOT EXISTS ({{differing}}) THEN
                        RETURN NULL;
                    END IF;
                END IF;
            EXCEPTION WHEN OTHERS THEN
                pgherald_as_installed := false;
            END;
            IF pgherald_as_installed IS NOT TRUE THEN
                RAISE WARNING 'pgherald records every UPDATE of %: a column that it compares was renamed, dropped or changed its type',
                    {{label}} USING HINT = 'Install the triggers again.';
            END IF;
        END IF;
