
    -- A row-level trigger is for sessions whose session_replication_role is replica, a statement-level one for the others.
    -- ALTER TABLE … ENABLE TRIGGER ALL has both fire; a change is announced or recorded once all the same.
    IF TG_OP OPERATOR(pg_catalog.<>) 'TRUNCATE' AND (TG_LEVEL OPERATOR(pg_catalog.=) 'ROW') OPERATOR(pg_catalog.<>) (
        pg_catalog.current_setting('session_replication_role') OPERATOR(pg_catalog.=) 'replica'
    ) THEN
        RETURN NULL;
    END IF;
