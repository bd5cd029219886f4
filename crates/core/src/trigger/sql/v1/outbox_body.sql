-- Records the changes of one table in the outbox, and wakes up those who read it.
--
-- Columns are written without their table: once no column x is left, t.x is a call of function x. Hence the
-- names of the variables, which no column has.
#variable_conflict use_column
DECLARE
    pgherald_clock bigint;
    pgherald_now bigint;
BEGIN
    SELECT w.last_value INTO pgherald_clock FROM pgherald.outbox_clock AS w;
    BEGIN
        IF TG_OP = 'INSERT' THEN
            {{insert}}
        ELSIF TG_OP = 'UPDATE' THEN
            {{update}}
        ELSIF TG_OP = 'DELETE' THEN
            {{delete}}
        ELSE
            {{whole}}
        END IF;
        IF NOT FOUND THEN
            RETURN NULL;
        END IF;
    EXCEPTION WHEN OTHERS THEN
        -- A column was renamed or dropped since, say. That must not fail the write; the event stays. If there
        -- is no outbox to record it in, the write fails.
        RAISE WARNING 'pgherald cannot record the changed rows of %: %', {{label}}, SQLERRM
            USING HINT = 'Install the triggers again.';
        {{whole}}
    END;
    -- Not more often than every 50 ms, all writers together: NOTIFY makes them commit one after the other. Who
    -- has read something goes on looking for longer than that.
    pgherald_now := extract(epoch FROM clock_timestamp()) * 1000;
    IF abs(pgherald_now - (pgherald_clock >> 2)) >= 50 THEN
        PERFORM setval('pgherald.outbox_clock', (pgherald_now << 2) | (pgherald_clock & 3));
        PERFORM pg_notify('pgherald_outbox', '');
    END IF;
    RETURN NULL;
END
