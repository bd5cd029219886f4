{{kept}}
            IF NOT FOUND THEN
                {{any}}
            END IF;
