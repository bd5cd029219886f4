-- Notifies of one table, listing the rows of the statement.
--
-- Columns are written without their table: once no column x is left, t.x is a call of function x. Hence the
-- names of the variables, which no column has.
#variable_conflict use_column
DECLARE
    pgherald_key text := {{key_names}};
    pgherald_keys text[];
    pgherald_cols text[];
    pgherald_old_keys text[];
    pgherald_changed text[];
BEGIN
    -- Each query reads at most one row more than may be listed. What is 8,000 bytes long or longer never
    -- fits, and becomes null before it takes memory.
    BEGIN
        IF TG_OP = 'INSERT' THEN
            SELECT {{keys}}, {{cols}} INTO pgherald_keys, pgherald_cols
            FROM (SELECT {{key}} AS k, {{columns}} AS c FROM pgherald_new LIMIT 1001) AS r;
        ELSIF TG_OP = 'UPDATE' THEN{{unchanged}}
            SELECT {{keys}}, {{cols}} INTO pgherald_keys, pgherald_cols
            FROM (SELECT {{key}} AS k, {{columns}} AS c FROM pgherald_new{{where}} LIMIT 1001) AS r;
            SELECT {{keys}} INTO pgherald_old_keys
            FROM (SELECT {{key}} AS k FROM pgherald_old{{where}} LIMIT 1001) AS r;
        ELSIF TG_OP = 'DELETE' THEN
            SELECT {{keys}}, {{cols}} INTO pgherald_keys, pgherald_cols
            FROM (SELECT {{key}} AS k, {{columns}} AS c FROM pgherald_old LIMIT 1001) AS r;
        ELSE
            pgherald_key := NULL;
        END IF;
        PERFORM pgherald.notify_rows(
            {{channel}}::text, TG_OP, {{relation}}::text,
            pgherald_key, pgherald_keys, pgherald_cols, pgherald_old_keys
        );
    {{failure}}
    END;
    RETURN NULL;
END
