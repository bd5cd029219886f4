-- Whether group $1 is paused, and the descriptions of its consumers with valid leases. Leases are valid as in the view
-- consumer_group_status: one that ends later than its duration from now was written before the clock was set back.
SELECT coalesce(bool_or(g.is_paused), false), ARRAY(
    SELECT n.description FROM pgherald.consumer_node AS n
    WHERE n.group_name = $1 AND n.lease_until > clock_timestamp() AND n.lease_until <= clock_timestamp() + n.lease
    ORDER BY n.description, n.id
)
FROM pgherald.consumer_group AS g WHERE g.name = $1
