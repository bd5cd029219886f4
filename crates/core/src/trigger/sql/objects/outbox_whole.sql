INSERT INTO pgherald.outbox (relation, hash, part, operation)
            SELECT {{relation}}, 0, pgherald_clock OPERATOR(pg_catalog.&) 3,
                pg_catalog.left(TG_OP, 1)::pg_catalog."char"{{where}};
