
            IF EXISTS (SELECT FROM pgherald_new OFFSET 1000) OR EXISTS (SELECT FROM pgherald_old OFFSET 1000)
            THEN{{unchanged}}
                pgherald_key := NULL;
            ELSE
                SELECT array_agg(r.pgherald_key) INTO pgherald_changed
                FROM (
                    (
                        SELECT {{key}}, {{watched}} FROM pgherald_new
                        EXCEPT ALL SELECT {{key}}, {{watched}} FROM pgherald_old
                    ) UNION ALL (
                        SELECT {{key}}, {{watched}} FROM pgherald_old
                        EXCEPT ALL SELECT {{key}}, {{watched}} FROM pgherald_new
                    )
                ) AS r (pgherald_key);
                IF pgherald_changed IS NULL THEN
                    RETURN NULL;
                ELSIF array_position(pgherald_changed, NULL) IS NOT NULL THEN
                    pgherald_key := NULL;  -- a key too large to send
                END IF;
            END IF;
