-- Notifies of one table as a whole, because it has no key that identifies its rows.
#variable_conflict use_column
BEGIN{{guard}}
    BEGIN
        {{row}}IF TG_OP = 'INSERT' THEN
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
        PERFORM pgherald.notify_rows(
            {{channel}}::text, TG_OP, {{relation}}::text,
            NULL::text, NULL::text[], NULL::text[], NULL::text[]
        );
    {{failure}}
    END;
    RETURN NULL;
END
