-- The settings of pgherald's sessions, which override those of role, database and server. Older servers lack some of them.
SELECT pg_catalog.set_config(setting.name, desired.value, false)
FROM (
    VALUES
        -- Listeners are idle while nothing is written.
        ('idle_session_timeout', '0'),
        -- The client has deadlines of its own, after which it drops the session.
        ('statement_timeout', '0'),
        ('lock_timeout', '0'),
        ('transaction_timeout', '0'),
        -- A client that hangs in a transaction would keep the server from vacuuming.
        ('idle_in_transaction_session_timeout', '60000'),
        -- Names resolve as pgherald's statements expect, and are written with their schema.
        ('search_path', 'pg_catalog, pg_temp'),
        ('quote_all_identifiers', 'off'),
        ('standard_conforming_strings', 'on'),
        -- Each value has one text.
        ('DateStyle', 'ISO, MDY'),
        ('IntervalStyle', 'postgres'),
        ('TimeZone', 'UTC'),
        ('bytea_output', 'hex'),
        ('extra_float_digits', '1'),
        -- A policy that would hide rows causes an error instead of a gap.
        ('row_security', 'off'),
        -- Compiling a query of the catalog takes longer than running it.
        ('jit', 'off'),
        ('default_transaction_isolation', 'read committed'),
        ('default_transaction_deferrable', 'off'),
        -- Leases, claims, acknowledgements and trimming write. A replica refuses writes nevertheless.
        ('default_transaction_read_only', 'off'),
        ('client_min_messages', 'notice')
) AS desired (name, value)
JOIN pg_catalog.pg_settings AS setting ON setting.name OPERATOR(pg_catalog.=) desired.name
