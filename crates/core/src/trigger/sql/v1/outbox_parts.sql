IF pgherald_clock & 3 = 0 THEN
                {{first}}
            ELSIF pgherald_clock & 3 = 1 THEN
                {{second}}
            ELSIF pgherald_clock & 3 = 2 THEN
                {{third}}
            ELSE
                {{fourth}}
            END IF;
