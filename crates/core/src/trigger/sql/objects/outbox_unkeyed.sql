IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
        {{update}}
    ELSIF TG_OP OPERATOR(pg_catalog.=) 'INSERT' THEN
        {{insert}}
    ELSIF TG_OP OPERATOR(pg_catalog.=) 'DELETE' THEN
        {{delete}}
    ELSE
        {{whole}}
    END IF;
