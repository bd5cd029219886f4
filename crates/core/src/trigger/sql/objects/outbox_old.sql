CASE WHEN pg_catalog.octet_length(o.c) OPERATOR(pg_catalog.>) 16384 THEN (
                            -- The old value of a large column is left out if it has not changed; readers take it from the
                            -- columns.
                            SELECT '{' OPERATOR(pg_catalog.||) coalesce(pg_catalog.string_agg(
                                pg_catalog.to_json(b.key)::pg_catalog.text OPERATOR(pg_catalog.||) ':'
                                    OPERATOR(pg_catalog.||) b.value::pg_catalog.text, ','
                            ), '') OPERATOR(pg_catalog.||) '}'
                            FROM pg_catalog.json_each(o.c::pg_catalog.json) AS b
                            LEFT JOIN pg_catalog.json_each(n.c::pg_catalog.json) AS a
                                ON a.key OPERATOR(pg_catalog.=) b.key
                                AND pg_catalog.octet_length(b.value::pg_catalog.text) OPERATOR(pg_catalog.>) 1024
                                AND a.value::pg_catalog.text OPERATOR(pg_catalog.=) b.value::pg_catalog.text
                            WHERE a.key IS NULL
                        ) ELSE o.c END