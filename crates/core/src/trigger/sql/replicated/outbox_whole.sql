-- For replicated rows, once per transaction and operation: readers see all rows of a transaction at the same time.
            IF coalesce(pg_catalog.current_setting({{mark}} OPERATOR(pg_catalog.||) TG_OP, true), '')
                OPERATOR(pg_catalog.<>) TG_LEVEL
            THEN
                {{whole}}
                IF TG_LEVEL OPERATOR(pg_catalog.=) 'ROW' THEN
                    pgherald_mark := pg_catalog.set_config({{mark}} OPERATOR(pg_catalog.||) TG_OP, TG_LEVEL, true);
                END IF;
            END IF;
