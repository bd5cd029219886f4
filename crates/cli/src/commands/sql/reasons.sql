-- The reasons why events of group $1 were set aside: whether they are dead letters, the error, their number, and the id of the
-- oldest. The most frequent reasons come first. Errors with the same first 200 characters are one reason.
SELECT e.dead_at IS NOT NULL AS is_dead, min(e.error), count(*) AS events, min(e.id)
FROM pgherald.parked_event AS e WHERE e.group_name = $1
GROUP BY 1, left(e.error, 200)
ORDER BY is_dead, events DESC, 4
LIMIT 20
