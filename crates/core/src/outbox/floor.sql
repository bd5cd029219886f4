-- The last id taken, or 0 if there is none. Null if this role may not read the sequence.
--
-- pg_sequence_last_value reads the sequence under the lock of its page. A plain SELECT of last_value does not hold that lock
-- when it takes the value: nextval writes a value of up to 32 ahead into the page for its log record, and takes it back
-- under the lock.
SELECT CASE WHEN pg_catalog.has_sequence_privilege('pgherald.outbox_id'::pg_catalog.regclass, 'SELECT, USAGE')
    THEN coalesce(pg_catalog.pg_sequence_last_value('pgherald.outbox_id'::pg_catalog.regclass), 0)
END AS floor
