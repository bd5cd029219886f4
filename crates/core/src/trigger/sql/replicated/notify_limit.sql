
    IF TG_LEVEL = 'ROW' THEN
        -- A transaction lists at most 1,000 rows, as a statement does. Then it announces the whole table once.
        pgherald_listed := coalesce(nullif(current_setting({{mark}} || TG_OP, true), ''), '0')::int4;
        IF pgherald_listed > 1000 THEN
            RETURN NULL;
        END IF;
    END IF;
