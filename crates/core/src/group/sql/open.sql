-- Creates the group unless it exists.
WITH made AS (
    INSERT INTO pgherald.consumer_group (name, slices, destination) VALUES ($1, $2, $5) ON CONFLICT DO NOTHING RETURNING name, slices
), cut AS (
    INSERT INTO pgherald.consumer_slice (group_name, slice, epoch)
    -- Epochs above those of a deleted group of the same name.
    SELECT name, number, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
    FROM made CROSS JOIN generate_series(0, slices - 1) AS number
    RETURNING group_name, slice, epoch
), begun AS (
    INSERT INTO pgherald.consumer_cursor (group_name, slice, epoch, cursor)
    SELECT group_name, slice, epoch, $3 FROM cut
)
-- One resync stands for the changes before the group's creation.
INSERT INTO pgherald.parked_event (group_name, id, slice, sent_at, relation, hash, operation, key, attempts)
SELECT name, -1, 0, clock_timestamp(), 0, 0, 'R', 'started', 0 FROM made WHERE $4
