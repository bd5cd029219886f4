(
            -- Whether all columns are there, with types that the queries below can read. A column that is gone is found
            -- in pgherald_gone instead, so this never fails; and it reads no row.
            SELECT {{checks}}
            FROM (SELECT {{gone}}) AS pgherald_gone
            LEFT JOIN LATERAL (SELECT {{columns}} FROM {{rows}}) AS pgherald_now ON false
        )
