OPERATOR(pg_catalog.||) CASE
                        WHEN TG_LEVEL OPERATOR(pg_catalog.=) 'STATEMENT' THEN ''
                        WHEN TG_OP OPERATOR(pg_catalog.=) 'INSERT' THEN 'WITH pgherald_new AS (SELECT ($2).*) '
                        WHEN TG_OP OPERATOR(pg_catalog.=) 'DELETE' THEN 'WITH pgherald_old AS (SELECT ($3).*) '
                        ELSE 'WITH pgherald_new AS (SELECT ($2).*), pgherald_old AS (SELECT ($3).*) '
                    END
