WITH held AS (
    SELECT FROM pgherald.consumer_cursor
    WHERE group_name OPERATOR(pg_catalog.=) $1 AND slice OPERATOR(pg_catalog.=) $2 AND epoch OPERATOR(pg_catalog.=) $3
        AND generation OPERATOR(pg_catalog.=) $4
    FOR SHARE
)
DELETE FROM pgherald.parked_event
WHERE group_name OPERATOR(pg_catalog.=) $1 AND id OPERATOR(pg_catalog.=) $5 AND EXISTS (SELECT FROM held)
    -- If the handler has ended the transaction of the attempt, this setting is off, and the statement writes nothing.
    AND pg_catalog.current_setting('pgherald.acknowledging', true) OPERATOR(pg_catalog.=) 'on'
