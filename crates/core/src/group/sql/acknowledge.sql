-- Moves cursors, gives back slices, and parks events, for slices that this node still owns.
--
-- Parked events are copied from the outbox, so that the consumer need not send large events back. If an event is no longer
-- there, the statement writes nothing and returns NULL: the caller then has to pass whole events.
WITH asked AS MATERIALIZED (
    SELECT p.id, p.slice, p.attempts, p.error, p.delay, p.is_dead,
        NOT p.is_whole AND o.id IS NULL AS is_missing,
        CASE WHEN p.is_whole THEN p.xid::xid8 ELSE o.xid END AS xid,
        CASE
            WHEN NOT p.is_whole THEN o.sent_at
            WHEN p.sent_at_us = 9223372036854775807 THEN 'infinity'
            WHEN p.sent_at_us = -9223372036854775808 THEN '-infinity'
            ELSE timestamptz 'epoch' + p.sent_at_us * interval '1 microsecond'
        END AS sent_at,
        CASE WHEN p.is_whole THEN p.relation ELSE o.relation END AS relation,
        CASE WHEN p.is_whole THEN p.hash ELSE o.hash END AS hash,
        CASE WHEN p.is_whole THEN p.operation::"char" ELSE o.operation END AS operation,
        CASE WHEN p.is_whole THEN p.key ELSE o.key END AS key,
        CASE WHEN p.is_whole THEN p.columns ELSE o.columns END AS columns,
        CASE WHEN p.is_whole THEN p.old_columns ELSE o.old_columns END AS old_columns,
        CASE WHEN p.is_whole THEN p.changed ELSE o.changed END AS changed
    FROM json_to_recordset($8::text::json) AS p (
        id bigint, slice int, attempts int, error text, delay float8, is_dead bool, is_whole bool, xid text, sent_at_us bigint,
        relation bigint, hash int, operation int, key text, columns text, old_columns text, changed text[]
    )
    LEFT JOIN LATERAL (
        SELECT * FROM pgherald.outbox AS e WHERE e.id = p.id AND NOT p.is_whole LIMIT 1
    ) AS o ON true
), moved AS (
    UPDATE pgherald.consumer_cursor AS c
    SET cursor = n.cursor, generation = CASE WHEN n.renewed THEN c.generation + 1 ELSE c.generation END,
        stored = coalesce(n.stored, c.stored)
    FROM unnest($2::int[], $3::bigint[], $4::bigint[], $5::text[], $6::bool[], $7::bool[], $9::text[])
        AS n (slice, epoch, generation, cursor, renewed, released, stored)
    -- The limit makes the server look up each cursor by its whole key, rather than scan all versions of all cursors.
    CROSS JOIN LATERAL (
        SELECT f.ctid AS place FROM pgherald.consumer_cursor AS f
        WHERE f.group_name = $1 AND f.slice = n.slice AND f.epoch = n.epoch AND f.generation = n.generation
        LIMIT 1
    ) AS l
    WHERE c.ctid = l.place
        -- Fences a consumer that lost the slice while this waited for the row's lock. The server checks these conditions again
        -- on the new version of the row. Minor releases before November 2025 do not check the place again.
        AND c.group_name = $1 AND c.slice = n.slice AND c.epoch = n.epoch AND c.generation = n.generation
        AND NOT EXISTS (SELECT FROM asked WHERE is_missing)
    RETURNING c.slice, c.epoch, n.released
), released AS (
    UPDATE pgherald.consumer_slice AS s SET node = NULL
    FROM moved AS m WHERE m.released AND s.group_name = $1 AND s.slice = m.slice AND s.epoch = m.epoch
), accepted AS (
    SELECT * FROM asked JOIN moved USING (slice)
), resync AS (
    -- Each loss of rows causes one resync, even if several consumers find it.
    UPDATE pgherald.consumer_group AS g SET trimmed = l.trimmed
    FROM (SELECT max(-2 - id) AS trimmed FROM accepted WHERE operation = 'R') AS l
    WHERE g.name = $1 AND g.trimmed < l.trimmed
    RETURNING -2 - g.trimmed AS id
), parked AS (
    INSERT INTO pgherald.parked_event (
        group_name, id, slice, xid, sent_at, relation, hash, operation, key, columns, old_columns, changed, attempts,
        error, parked_at, due_at, delay, dead_at
    )
    SELECT $1, p.id, p.slice, p.xid, p.sent_at, p.relation, p.hash, p.operation, p.key, p.columns, p.old_columns, p.changed,
        p.attempts, p.error, c.now, c.now + make_interval(secs => p.delay), p.delay, CASE WHEN p.is_dead THEN c.now END
    FROM accepted AS p CROSS JOIN (SELECT clock_timestamp() AS now) AS c
    WHERE p.operation <> 'R' OR p.id IN (SELECT t.id FROM resync AS t)
    -- After a seek, an event may be parked a second time. A dead letter takes the new state; other parked events stay as they are.
    ON CONFLICT (group_name, id) DO UPDATE
    SET attempts = EXCLUDED.attempts, error = EXCLUDED.error, due_at = EXCLUDED.due_at, delay = EXCLUDED.delay,
        dead_at = EXCLUDED.dead_at
    WHERE parked_event.dead_at IS NOT NULL
)
SELECT slice FROM moved UNION ALL SELECT NULL WHERE EXISTS (SELECT FROM asked WHERE is_missing)
