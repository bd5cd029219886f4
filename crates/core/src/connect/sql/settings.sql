-- What a session of ours needs, whatever the role, the database or the server says. A server has those that its version has.
SELECT pg_catalog.set_config(setting.name, desired.value, false)
FROM (
    VALUES
        -- Listeners are idle for as long as nothing happens.
        ('idle_session_timeout', '0'),
        -- Deadlines are the client's: it gives the session up.
        ('statement_timeout', '0'),
        ('lock_timeout', '0'),
        ('transaction_timeout', '0'),
        -- A client that froze in a transaction would keep the server from cleaning up.
        ('idle_in_transaction_session_timeout', '60000'),
        -- Names mean what they mean in our statements, and are written with their schema.
        ('search_path', 'pg_catalog, pg_temp'),
        ('quote_all_identifiers', 'off'),
        ('standard_conforming_strings', 'on'),
        -- Values have one text.
        ('DateStyle', 'ISO, MDY'),
        ('IntervalStyle', 'postgres'),
        ('TimeZone', 'UTC'),
        ('bytea_output', 'hex'),
        ('extra_float_digits', '1'),
        -- A policy that hides rows is an error, not a gap.
        ('row_security', 'off'),
        -- To compile a query of the catalog takes longer than to run it.
        ('jit', 'off'),
        ('default_transaction_isolation', 'read committed'),
        ('default_transaction_deferrable', 'off'),
        -- Leases, claims, acknowledgements and trimming write. A replica refuses to write all the same.
        ('default_transaction_read_only', 'off'),
        ('client_min_messages', 'notice')
) AS desired (name, value)
JOIN pg_catalog.pg_settings AS setting ON setting.name OPERATOR(pg_catalog.=) desired.name
