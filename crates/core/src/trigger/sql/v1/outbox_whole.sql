INSERT INTO pgherald.outbox (relation, hash, part, operation)
            SELECT {{relation}}, 0, pgherald_clock & 3, left(TG_OP, 1)::"char"{{where}};
