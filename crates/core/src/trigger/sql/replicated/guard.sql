
    -- Row-level triggers are for sessions whose session_replication_role is replica, statement-level ones for the others.
    -- After ALTER TABLE … ENABLE TRIGGER ALL both fire, and each change must still cause one event.
    IF TG_OP OPERATOR(pg_catalog.<>) 'TRUNCATE' AND (TG_LEVEL OPERATOR(pg_catalog.=) 'ROW') OPERATOR(pg_catalog.<>) (
        pg_catalog.current_setting('session_replication_role') OPERATOR(pg_catalog.=) 'replica'
    ) THEN
        RETURN NULL;
    END IF;
