IF TG_LEVEL = 'ROW' THEN
            IF pgherald_key IS NULL OR pgherald_listed = 1000 THEN
                pgherald_key := NULL;
                pgherald_listed := 1000;
            END IF;
            pgherald_mark := set_config({{mark}} || TG_OP, (pgherald_listed + 1)::text, true);
        END IF;
