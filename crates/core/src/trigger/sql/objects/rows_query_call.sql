pgherald.rows_query(
                    TG_RELID, TG_OP, {{label}}, {{names}},
                    {{types}},
                    {{values}},
                    {{key_length}}, {{watched}}, {{has_old}}, {{is_pinned}},
                    pgherald_deepest OPERATOR(pg_catalog.>) pgherald_depth
                )
