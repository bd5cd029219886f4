-- Notifies of one table, listing the rows of the statement.
#variable_conflict use_variable
DECLARE
    key text := {{key_names}};
    keys text[];
    cols text[];
    old_keys text[];
BEGIN
    -- Each query reads at most one row more than may be listed. What is 8,000 bytes long or longer never
    -- fits, and becomes null before it takes memory.
    BEGIN
        IF TG_OP = 'INSERT' THEN
            SELECT {{keys}}, {{cols}} INTO keys, cols
            FROM (SELECT {{key}} AS k, {{columns}} AS c FROM pgherald_new AS t LIMIT 1001) AS r;
        ELSIF TG_OP = 'UPDATE' THEN{{unchanged}}
            SELECT {{keys}}, {{cols}} INTO keys, cols
            FROM (SELECT {{key}} AS k, {{columns}} AS c FROM pgherald_new AS t LIMIT 1001) AS r;
            SELECT {{keys}} INTO old_keys
            FROM (SELECT {{key}} AS k FROM pgherald_old AS t LIMIT 1001) AS r;
        ELSIF TG_OP = 'DELETE' THEN
            SELECT {{keys}}, {{cols}} INTO keys, cols
            FROM (SELECT {{key}} AS k, {{columns}} AS c FROM pgherald_old AS t LIMIT 1001) AS r;
        ELSE
            key := NULL;
        END IF;
    {{failure}}
        key := NULL;
    END;
    PERFORM pgherald.notify_rows({{channel}}, TG_OP, {{relation}}, key, keys, cols, old_keys);
    RETURN NULL;
END
