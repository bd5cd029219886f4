EXCEPTION WHEN OTHERS THEN
        -- A column was renamed or dropped since the installation, or the shared function is gone. That must not
        -- fail the write; the event is still announced.
        RAISE WARNING 'pgherald cannot list the changed rows of %: %', {{table}}, SQLERRM
            USING HINT = 'Install the triggers again.';
        PERFORM pg_notify(
            {{channel}},
            '{"v":1,"operation":"' || lower(TG_OP) || '",' || {{relation}} || ',"sent_at":"'
            || to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US')
            || '+00:00","xid":' || pg_current_xact_id()::text || '}'
        );
