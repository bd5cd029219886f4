INSERT INTO pgherald.outbox_{{part}} (relation, hash, part, operation, key, columns, old_columns, changed)
                SELECT {{relation}}, hashtext(r.k), {{part}}, left(TG_OP, 1)::"char", r.k, r.c, r.o, r.d
                FROM ({{rows}}) AS r;
