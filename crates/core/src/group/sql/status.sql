-- The status of groups, with their failures: parked events that have failed, dead letters, the last error. 300 is
-- GroupStatus::RECENT, and 100000 is MAX_PARKED_ROWS of a consumer. Times are compared as numbers, because differences of infinite times are errors on some servers. There
-- may be very many parked events, for which date_part costs least.
SELECT s.name, s.slices, s.is_paused, s.nodes, s.lag_events, s.lag_seconds, s.parked, s.dead_letters,
    coalesce(f.failing, 0) AS failing, coalesce(f.failing_recently, 0) AS failing_recently, f.oldest_failing,
    coalesce(f.dead_recently, 0) AS dead_recently, s.unreadable_slices, e.error AS last_error, s.lag_is_estimate,
    CASE WHEN s.parked OPERATOR(pg_catalog.>=) 100000 THEN (
        SELECT pg_catalog.count(*) FROM (
            SELECT r.node FROM (
                SELECT DISTINCT c.node, q.relation, q.key FROM pgherald.parked_event AS q
                JOIN pgherald.consumer_slice AS c ON c.group_name OPERATOR(pg_catalog.=) q.group_name
                    AND c.slice OPERATOR(pg_catalog.=) q.slice
                WHERE q.group_name OPERATOR(pg_catalog.=) s.name AND q.dead_at IS NULL AND c.node IS NOT NULL
            ) AS r
            GROUP BY r.node HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>=) 100000
        ) AS n
    ) ELSE 0 END AS full_nodes,
    (
        SELECT g.destination FROM pgherald.consumer_group AS g WHERE g.name OPERATOR(pg_catalog.=) s.name
    ) AS destination,
    d.problem AS destination_error, d.usage AS destination_usage
FROM pgherald.consumer_group_status AS s
LEFT JOIN (
    SELECT n.group_name, pg_catalog.max(n.problem) AS problem, pg_catalog.max(n.usage) AS usage
    FROM pgherald.consumer_node AS n WHERE n.lease_until OPERATOR(pg_catalog.>) pg_catalog.statement_timestamp()
    GROUP BY n.group_name
) AS d ON d.group_name OPERATOR(pg_catalog.=) s.name
LEFT JOIN (
    SELECT p.group_name,
        pg_catalog.count(*) FILTER (WHERE p.is_failing) AS failing,
        pg_catalog.count(*) FILTER (WHERE p.is_failing AND p.parked_for OPERATOR(pg_catalog.<) 300) AS failing_recently,
        pg_catalog.max(p.parked_for) FILTER (WHERE p.is_failing) AS oldest_failing,
        pg_catalog.count(*) FILTER (WHERE p.dead_for OPERATOR(pg_catalog.<) 300) AS dead_recently
    FROM (
        SELECT q.group_name, q.dead_at IS NULL AND q.attempts OPERATOR(pg_catalog.>) 0 AS is_failing,
            pg_catalog.date_part('epoch', pg_catalog.statement_timestamp())
                OPERATOR(pg_catalog.-) pg_catalog.date_part('epoch', q.parked_at) AS parked_for,
            pg_catalog.date_part('epoch', pg_catalog.statement_timestamp())
                OPERATOR(pg_catalog.-) pg_catalog.date_part('epoch', q.dead_at) AS dead_for
        FROM pgherald.parked_event AS q
    ) AS p
    GROUP BY p.group_name
) AS f ON f.group_name OPERATOR(pg_catalog.=) s.name
LEFT JOIN LATERAL (
    -- The time of the last failed attempt: when the event became a dead letter, or the due time minus the wait.
    SELECT q.error FROM pgherald.parked_event AS q
    WHERE q.group_name OPERATOR(pg_catalog.=) s.name AND q.error IS NOT NULL
    ORDER BY CASE
        WHEN q.dead_at IS NULL THEN pg_catalog.date_part('epoch', coalesce(q.due_at, q.parked_at))
            OPERATOR(pg_catalog.-) coalesce(q.delay, 0)
        ELSE pg_catalog.date_part('epoch', q.dead_at)
    END DESC
    LIMIT 1
) AS e ON true
