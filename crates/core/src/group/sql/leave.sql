-- Frees the slices of the node, which may have claimed some in its last tick.
WITH freed AS (
    UPDATE pgherald.consumer_slice SET node = NULL WHERE group_name = $1 AND node = $2
)
DELETE FROM pgherald.consumer_node WHERE group_name = $1 AND id = $2
