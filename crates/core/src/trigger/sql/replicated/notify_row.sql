IF TG_LEVEL = 'ROW' THEN
                IF TG_OP = 'DELETE' THEN
                    SELECT {{keys}}, {{cols}} INTO pgherald_keys, pgherald_cols
                    FROM ({{with_old}}SELECT {{key}} AS k, {{columns}} AS c FROM pgherald_old) AS r;
                ELSE
                    SELECT {{keys}}, {{cols}} INTO pgherald_keys, pgherald_cols
                    FROM ({{with_new}}SELECT {{key}} AS k, {{columns}} AS c FROM pgherald_new) AS r;
                END IF;
                IF TG_OP = 'UPDATE' THEN
                    {{unchanged}}SELECT {{keys}} INTO pgherald_old_keys
                    FROM ({{with_old}}SELECT {{key}} AS k FROM pgherald_old) AS r;
                END IF;
                {{counted}}PERFORM pgherald.notify_rows(
                    {{channel}}::text, TG_OP, {{relation}}::text,
                    pgherald_key, pgherald_keys, pgherald_cols, pgherald_old_keys
                );
                RETURN NULL;
            END IF;
