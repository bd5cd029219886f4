INSERT INTO pgherald.outbox_{{part}} (relation, hash, part, operation, key, columns, old_columns, changed)
                SELECT {{relation}}, pg_catalog.hashtext(r.k), {{part}}, r.p, r.k, r.c, r.o, r.d
                FROM ({{rows}}) AS r;
