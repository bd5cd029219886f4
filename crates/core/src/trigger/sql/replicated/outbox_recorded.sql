ELSIF TG_LEVEL OPERATOR(pg_catalog.=) 'ROW' THEN
            IF TG_OP OPERATOR(pg_catalog.=) 'UPDATE' THEN
                {{update}}
            ELSIF TG_OP OPERATOR(pg_catalog.=) 'INSERT' THEN
                {{insert}}
            ELSE
                {{delete}}
            END IF;
