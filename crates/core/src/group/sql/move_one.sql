-- Moves the cursor of one slice, if this node still has it, and does nothing else: for whoever does so for each event.
UPDATE pgherald.consumer_cursor SET cursor = $5, generation = CASE WHEN $6 THEN generation + 1 ELSE generation END
WHERE group_name = $1 AND slice = $2 AND epoch = $3 AND generation = $4
