pgherald_as_installed := {{as_installed}};
        IF pgherald_as_installed IS TRUE THEN
            {{changed}}
        ELSE
            RAISE WARNING 'pgherald records every UPDATE of %: a column that it compares was renamed, dropped or changed its type',
                {{label}} USING HINT = 'Install the triggers again.';
            {{every}}
        END IF;
