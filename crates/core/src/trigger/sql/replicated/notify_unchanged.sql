IF NOT EXISTS (
                        {{with_both}}SELECT {{watched}} FROM pgherald_new
                        EXCEPT ALL SELECT {{watched}} FROM pgherald_old
                    ) THEN
                        RETURN NULL;
                    END IF;
