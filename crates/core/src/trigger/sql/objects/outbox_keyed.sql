{{nesting}}
    IF TG_OP OPERATOR(pg_catalog.=) 'TRUNCATE' THEN
        {{whole}}
    ELSE
        IF pgherald_deepest OPERATOR(pg_catalog.>) pgherald_depth THEN
            pgherald_as_installed := false;
        {{row_readable}}ELSIF TG_OP OPERATOR(pg_catalog.=) 'DELETE' THEN
            pgherald_as_installed := {{old_as_installed}};
        ELSE
            pgherald_as_installed := {{new_as_installed}};
        END IF;
        IF pgherald_as_installed IS NOT TRUE THEN
            BEGIN
                pgherald_rows := {{rows_query}};
            EXCEPTION WHEN OTHERS THEN
                RAISE WARNING 'pgherald cannot list the changed rows of %: %', {{label}}, SQLERRM
                    USING HINT = 'Install the triggers again.';
            END;
            IF pgherald_rows IS NULL THEN
                {{unlisted}}
            ELSE
                EXECUTE {{insert_into}} OPERATOR(pg_catalog.||) pgherald_rows OPERATOR(pg_catalog.||) ') AS r'
                    USING pgherald_clock OPERATOR(pg_catalog.&) 3{{row_arguments}};
                GET DIAGNOSTICS pgherald_count = ROW_COUNT;
            END IF;
        {{row_recorded}}ELSIF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
            {{update}}
        ELSIF TG_OP OPERATOR(pg_catalog.=) 'INSERT' THEN
            {{insert}}
        ELSE
            {{delete}}
        END IF;
    END IF;
