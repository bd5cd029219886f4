-- Moves cursors, gives back slices that are to be given back, and parks events; of slices that this node still has.
WITH moved AS (
    UPDATE pgherald.consumer_cursor AS c
    SET cursor = n.cursor, generation = CASE WHEN n.renewed THEN c.generation + 1 ELSE c.generation END
    FROM unnest($2::int[], $3::bigint[], $4::bigint[], $5::text[], $6::bool[], $7::bool[])
        AS n (slice, epoch, generation, cursor, renewed, released)
    -- One by one by the whole key, rather than through all versions of all cursors: hence the limit.
    CROSS JOIN LATERAL (
        SELECT f.ctid AS place FROM pgherald.consumer_cursor AS f
        WHERE f.group_name = $1 AND f.slice = n.slice AND f.epoch = n.epoch AND f.generation = n.generation
        LIMIT 1
    ) AS l
    WHERE c.ctid = l.place
        -- Fences a consumer that lost the slice while this waited for the row's lock. The server checks these conditions again
        -- on the new version of the row. Minor releases before November 2025 do not check the place again.
        AND c.group_name = $1 AND c.slice = n.slice AND c.epoch = n.epoch AND c.generation = n.generation
    RETURNING c.slice, c.epoch, n.released
), released AS (
    UPDATE pgherald.consumer_slice AS s SET node = NULL
    FROM moved AS m WHERE m.released AND s.group_name = $1 AND s.slice = m.slice AND s.epoch = m.epoch
), asked AS (
    SELECT p.* FROM json_to_recordset($8::text::json) AS p (
        id bigint, slice int, xid text, sent_at_us bigint, relation bigint, hash int, operation int, key text,
        columns text, old_columns text, changed text[], attempts int, error text, delay float8, is_dead bool
    )
    JOIN moved USING (slice)
), told AS (
    -- A loss is told once, whoever of the group comes upon it.
    UPDATE pgherald.consumer_group AS g SET trimmed = l.trimmed
    FROM (SELECT max(-2 - id) AS trimmed FROM asked WHERE operation::"char" = 'R') AS l
    WHERE g.name = $1 AND g.trimmed < l.trimmed
    RETURNING -2 - g.trimmed AS id
), parked AS (
    INSERT INTO pgherald.parked_event (
        group_name, id, slice, xid, sent_at, relation, hash, operation, key, columns, old_columns, changed, attempts,
        error, parked_at, due_at, delay, dead_at
    )
    SELECT $1, p.id, p.slice, p.xid::xid8,
        CASE p.sent_at_us
            WHEN 9223372036854775807 THEN 'infinity'
            WHEN -9223372036854775808 THEN '-infinity'
            ELSE timestamptz 'epoch' + p.sent_at_us * interval '1 microsecond'
        END, p.relation,
        p.hash, p.operation::"char", p.key, p.columns, p.old_columns, p.changed, p.attempts, p.error,
        c.now, c.now + make_interval(secs => p.delay), p.delay, CASE WHEN p.is_dead THEN c.now END
    FROM asked AS p CROSS JOIN (SELECT clock_timestamp() AS now) AS c
    WHERE p.operation::"char" <> 'R' OR p.id IN (SELECT t.id FROM told AS t)
    -- Sought back to. What waits already stays as it is.
    ON CONFLICT (group_name, id) DO UPDATE
    SET attempts = EXCLUDED.attempts, error = EXCLUDED.error, due_at = EXCLUDED.due_at, delay = EXCLUDED.delay,
        dead_at = EXCLUDED.dead_at
    WHERE parked_event.dead_at IS NOT NULL
)
SELECT slice FROM moved
