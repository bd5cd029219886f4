
            -- Both ways, because a row moved between partitions may be lost on its way. By sorting, which
            -- spills to disk where hashing would fill the memory.
            IF NOT EXISTS (
                SELECT {{watched}} FROM pgherald_new AS t
                EXCEPT ALL SELECT {{watched}} FROM pgherald_old AS t
            ) AND NOT EXISTS (
                SELECT {{watched}} FROM pgherald_old AS t
                EXCEPT ALL SELECT {{watched}} FROM pgherald_new AS t
            ) THEN
                RETURN NULL;
            END IF;
