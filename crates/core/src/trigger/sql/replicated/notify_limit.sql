
    IF TG_LEVEL = 'ROW' THEN
        -- As many rows are listed of a transaction as are of a statement; then the table is announced as a whole, once.
        pgherald_listed := coalesce(nullif(current_setting({{mark}} || TG_OP, true), ''), '0')::int4;
        IF pgherald_listed > 1000 THEN
            RETURN NULL;
        END IF;
    END IF;
