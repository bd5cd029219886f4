INSERT INTO pgherald.outbox (relation, hash, part, operation, key, columns, old_columns, changed)
            SELECT {{relation}}, hashtext(r.k), pgherald_clock & 3, left(TG_OP, 1)::"char", r.k, r.c, r.o, r.d
            FROM ({{rows}}) AS r;
