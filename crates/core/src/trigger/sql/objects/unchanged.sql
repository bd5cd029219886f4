
            -- In both directions, because a row that is moved between partitions may be lost on its way. By sorting,
            -- which spills to disk where hashing would fill the memory.
            IF NOT EXISTS (
                SELECT {{watched}} FROM pgherald_new
                EXCEPT ALL SELECT {{watched}} FROM pgherald_old
            ) AND NOT EXISTS (
                SELECT {{watched}} FROM pgherald_old
                EXCEPT ALL SELECT {{watched}} FROM pgherald_new
            ) THEN
                RETURN NULL;
            END IF;
