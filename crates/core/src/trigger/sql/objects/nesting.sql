-- A statement that a trigger runs within this one is recorded before it. It stores its depth until the transaction
-- ends, for outer statements on the same table: the rows of their transition tables are older.
    pgherald_depth := pg_catalog.pg_trigger_depth();
    pgherald_deepest := coalesce(pg_catalog.length(pg_catalog.current_setting({{mark}}, true)), 0);
    IF pgherald_depth OPERATOR(pg_catalog.>) 1 AND pgherald_depth OPERATOR(pg_catalog.>) pgherald_deepest THEN
        pgherald_mark := pg_catalog.set_config({{mark}}, pg_catalog.repeat('x', pgherald_depth), true);
    END IF;
