IF TG_LEVEL OPERATOR(pg_catalog.=) 'ROW' THEN
        {{compared}}{{whole}}
    ELSE
        {{statement}}
    END IF;
