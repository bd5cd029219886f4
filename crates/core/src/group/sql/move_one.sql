-- Moves the cursor of one slice, if this node still owns it. Transactional attempts run this for each event.
UPDATE pgherald.consumer_cursor
SET cursor = $5, generation = CASE WHEN $6 THEN generation OPERATOR(pg_catalog.+) 1 ELSE generation END
WHERE group_name OPERATOR(pg_catalog.=) $1 AND slice OPERATOR(pg_catalog.=) $2 AND epoch OPERATOR(pg_catalog.=) $3
    AND generation OPERATOR(pg_catalog.=) $4
    -- If the handler has ended the transaction of the attempt, this setting is off, and the statement writes nothing.
    AND pg_catalog.current_setting('pgherald.acknowledging', true) OPERATOR(pg_catalog.=) 'on'
