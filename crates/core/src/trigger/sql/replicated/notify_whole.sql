IF TG_LEVEL = 'ROW' THEN
            -- Once per transaction and operation.
            IF coalesce(current_setting({{mark}} || TG_OP, true), '') <> '' THEN
                RETURN NULL;
            END IF;
            IF TG_OP = 'UPDATE' THEN
                {{unchanged}}NULL;
            END IF;
            PERFORM set_config({{mark}} || TG_OP, TG_LEVEL, true);
            PERFORM pgherald.notify_rows(
                {{channel}}::text, TG_OP, {{relation}}::text,
                NULL::text, NULL::text[], NULL::text[], NULL::text[]
            );
            RETURN NULL;
        END IF;
