EXCEPTION WHEN OTHERS THEN
        -- A column was renamed or dropped since. That must not fail the write; the event stays.
        RAISE WARNING 'pgherald cannot read the changed rows of %: %', {{table}}, SQLERRM
            USING HINT = 'Install the triggers again.';
