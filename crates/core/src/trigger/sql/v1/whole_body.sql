-- Notifies of one table as a whole, which has no key to tell its rows apart.
BEGIN
    BEGIN
        IF TG_OP = 'INSERT' THEN
            IF NOT EXISTS (SELECT FROM pgherald_new) THEN
                RETURN NULL;
            END IF;
        ELSIF TG_OP = 'UPDATE' THEN
            IF NOT EXISTS (SELECT FROM pgherald_new) THEN
                RETURN NULL;
            END IF;{{unchanged}}
        ELSIF TG_OP = 'DELETE' THEN
            IF NOT EXISTS (SELECT FROM pgherald_old) THEN
                RETURN NULL;
            END IF;
        END IF;
    {{failure}}
    END;
    PERFORM pgherald.notify_rows({{channel}}, TG_OP, {{relation}}, NULL, NULL, NULL, NULL);
    RETURN NULL;
END
