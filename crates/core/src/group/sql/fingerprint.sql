-- Stores the fingerprints of triggers ($4) and of rows ($5) of the tables with schemas $2 and names $3, and parks one resync if
-- one of them differs from the fingerprint stored for group $1. Returns the tables that differ, and the reason.
--
-- If two consumers run this at once, the second waits for the row and finds its own fingerprint there.
WITH given AS (
    SELECT * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) AS g (schema_name, table_name, triggers, rows)
), before AS (
    SELECT r.schema_name, r.table_name, r.triggers, r.rows
    FROM pgherald.consumer_requirement AS r
    JOIN given AS g ON g.schema_name = r.schema_name AND g.table_name = r.table_name
    WHERE r.group_name = $1 AND (r.triggers IS DISTINCT FROM g.triggers OR r.rows IS DISTINCT FROM g.rows)
    ORDER BY 1, 2 FOR UPDATE OF r
), noted AS (
    UPDATE pgherald.consumer_requirement AS r SET triggers = g.triggers, rows = g.rows
    FROM given AS g JOIN before AS b ON b.schema_name = g.schema_name AND b.table_name = g.table_name
    WHERE r.group_name = $1 AND r.schema_name = g.schema_name AND r.table_name = g.table_name
        -- Compared on the row being written, because some minor releases do not compare a row that was read earlier again.
        AND (r.triggers IS DISTINCT FROM g.triggers OR r.rows IS DISTINCT FROM g.rows)
    RETURNING r.schema_name, r.table_name,
        CASE WHEN b.triggers <> g.triggers THEN 'triggers_restored' WHEN b.rows <> g.rows THEN 'table_altered' END AS reason
), gap AS (
    -- The first check of a table has no stored fingerprint to compare with.
    SELECT format('%I.%I', n.schema_name, n.table_name) AS table_name, n.reason FROM noted AS n WHERE n.reason IS NOT NULL
), called AS (
    -- This makes the consumer of the slice read its parked events that are due at once.
    UPDATE pgherald.consumer_group AS c SET revision = c.revision + 1
    WHERE c.name = $1 AND EXISTS (SELECT FROM gap) RETURNING c.revision
), parked AS (
    -- Each gap has an id of its own, because an attempt at an earlier resync may be running.
    INSERT INTO pgherald.parked_event (group_name, id, slice, sent_at, relation, hash, operation, key, attempts, due_at, delay)
    SELECT $1, -(1::bigint << 40) - c.revision, 0, clock_timestamp(), 0, 0, 'R', (SELECT max(g.reason) FROM gap AS g), 0,
        clock_timestamp(), 0
    FROM called AS c
)
SELECT g.table_name, g.reason FROM gap AS g
