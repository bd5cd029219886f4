-- Notifies of one table, listing the rows of the statement.
--
-- Columns are written without their table, because t.x is a call of function x once there is no column x. Hence the
-- names of the variables, which no column has.
#variable_conflict use_column
DECLARE
    pgherald_key text := {{key_names}};
    pgherald_keys text[];
    pgherald_cols text[];
    pgherald_old_keys text[];
    pgherald_changed text[];
    pgherald_lost text[];
    pgherald_lost_cols text[];
    pgherald_depth int4;
    pgherald_deepest int4;
    pgherald_mark text;
    pgherald_rows text;
{{declarations}}BEGIN{{guard}}
    {{nesting}}{{row_limit}}
    -- Each query reads at most one row more than may be listed. A text of 8,000 bytes or more never fits, and
    -- becomes null before it takes memory.
    IF pgherald_deepest <= pgherald_depth OR TG_OP = 'TRUNCATE' THEN
        BEGIN
            {{row}}IF TG_OP = 'INSERT' THEN
                SELECT {{keys}}, {{cols}} INTO pgherald_keys, pgherald_cols
                FROM (SELECT {{key}} AS k, {{columns}} AS c FROM pgherald_new LIMIT 1001) AS r;
            ELSIF TG_OP = 'UPDATE' THEN{{unchanged}}
                SELECT {{keys}}, {{cols}} INTO pgherald_keys, pgherald_cols
                FROM (SELECT {{key}} AS k, {{columns}} AS c FROM pgherald_new{{where}} LIMIT 1001) AS r;
                SELECT {{keys}} INTO pgherald_old_keys
                FROM (SELECT {{key}} AS k FROM pgherald_old{{where}} LIMIT 1001) AS r;
                -- Fewer rows than before: a trigger of the partition to which they were moved returned null.
                IF cardinality(pgherald_old_keys) > coalesce(cardinality(pgherald_keys), 0)
                    AND cardinality(pgherald_old_keys) <= 1000 AND array_position(pgherald_old_keys, NULL) IS NULL
                THEN
                    SELECT {{keys}}, {{cols}} INTO pgherald_lost, pgherald_lost_cols
                    FROM (SELECT {{key}} AS k, {{columns}} AS c FROM pgherald_old{{where}}) AS r
                    WHERE r.k <> ALL (coalesce(pgherald_keys, '{}'));
                    pgherald_old_keys := NULL;
                END IF;
            ELSIF TG_OP = 'DELETE' THEN
                SELECT {{keys}}, {{cols}} INTO pgherald_keys, pgherald_cols
                FROM (SELECT {{key}} AS k, {{columns}} AS c FROM pgherald_old LIMIT 1001) AS r;
            ELSE
                pgherald_key := NULL;
            END IF;
            PERFORM pgherald.notify_rows(
                {{channel}}::text, TG_OP, {{relation}}::text,
                pgherald_key, pgherald_keys, pgherald_cols, pgherald_old_keys
            );
            IF pgherald_lost IS NOT NULL THEN
                PERFORM pgherald.notify_rows(
                    {{channel}}::text, 'DELETE', {{relation}}::text,
                    pgherald_key, pgherald_lost, pgherald_lost_cols, NULL::text[]
                );
            END IF;
            RETURN NULL;
        EXCEPTION WHEN OTHERS THEN
            pgherald_key := {{key_names}};
            pgherald_lost := NULL;
        END;
    END IF;
    -- The table was altered since the installation, or a nested statement of a trigger was announced before this one.
    BEGIN
        pgherald_rows := {{rows_query}};
        IF pgherald_rows IS NULL THEN
            pgherald_key := NULL;
        ELSE
            EXECUTE {{select}} || pgherald_rows || ') AS q WHERE q.p = $1 LIMIT 1001) AS r'
                INTO pgherald_keys, pgherald_cols USING left(TG_OP, 1)::"char"{{row_arguments}};
            IF TG_OP = 'UPDATE' THEN
                EXECUTE {{select}} || pgherald_rows || ') AS q WHERE q.p = $1 LIMIT 1001) AS r'
                    INTO pgherald_lost, pgherald_lost_cols USING 'D'::"char"{{row_arguments}};
            END IF;
        END IF;
        {{row_counted}}PERFORM pgherald.notify_rows(
            {{channel}}::text, TG_OP, {{relation}}::text, pgherald_key, pgherald_keys, pgherald_cols, NULL::text[]
        );
        IF pgherald_lost IS NOT NULL THEN
            PERFORM pgherald.notify_rows(
                {{channel}}::text, 'DELETE', {{relation}}::text,
                pgherald_key, pgherald_lost, pgherald_lost_cols, NULL::text[]
            );
        END IF;
    {{failure}}
    END;
    RETURN NULL;
END
