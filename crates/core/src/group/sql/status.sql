-- The status of groups, with their failures: parked events that have failed, dead letters, the last error. 300 is GroupStatus::RECENT.
SELECT s.name, s.slices, s.is_paused, s.nodes, s.lag_events, s.lag_seconds, s.parked, s.dead_letters,
    f.failing, f.failing_recently, f.oldest_failing, f.dead_recently, e.error
FROM pgherald.consumer_group_status AS s
CROSS JOIN LATERAL (
    SELECT pg_catalog.count(*) FILTER (WHERE p.is_failing) AS failing,
        pg_catalog.count(*) FILTER (WHERE p.is_failing AND p.parked_for OPERATOR(pg_catalog.<) 300) AS failing_recently,
        pg_catalog.max(p.parked_for) FILTER (WHERE p.is_failing) AS oldest_failing,
        pg_catalog.count(*) FILTER (WHERE p.dead_for OPERATOR(pg_catalog.<) 300) AS dead_recently
    FROM (
        SELECT q.dead_at IS NULL AND q.attempts OPERATOR(pg_catalog.>) 0 AS is_failing,
            -- Differences of numbers: those of infinite times are errors on some servers.
            extract(epoch FROM pg_catalog.clock_timestamp())::pg_catalog.float8
                OPERATOR(pg_catalog.-) extract(epoch FROM q.parked_at)::pg_catalog.float8 AS parked_for,
            extract(epoch FROM pg_catalog.clock_timestamp())::pg_catalog.float8
                OPERATOR(pg_catalog.-) extract(epoch FROM q.dead_at)::pg_catalog.float8 AS dead_for
        FROM pgherald.parked_event AS q WHERE q.group_name OPERATOR(pg_catalog.=) s.name
    ) AS p
) AS f
LEFT JOIN LATERAL (
    -- An attempt has failed when the event became a dead letter, or as long before it is due as it was to wait.
    SELECT q.error FROM pgherald.parked_event AS q
    WHERE q.group_name OPERATOR(pg_catalog.=) s.name AND q.error IS NOT NULL
    ORDER BY extract(epoch FROM coalesce(q.dead_at, q.due_at, q.parked_at))::pg_catalog.float8
        OPERATOR(pg_catalog.-) CASE WHEN q.dead_at IS NULL THEN coalesce(q.delay, 0) ELSE 0 END DESC
    LIMIT 1
) AS e ON true
