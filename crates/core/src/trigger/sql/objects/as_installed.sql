(
            -- Whether all columns exist, with types that the queries below can read. A name whose column is gone resolves
            -- to pgherald_gone instead, so this never fails. It reads no row.
            SELECT {{checks}}
            FROM (SELECT {{gone}}) AS pgherald_gone
            LEFT JOIN LATERAL (SELECT {{columns}} FROM {{rows}}) AS pgherald_now ON false
        )
