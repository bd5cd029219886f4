-- Deletes nodes whose lease has expired. If a lease is being renewed, this waits, and checks the condition again.
DELETE FROM pgherald.consumer_node
WHERE group_name = $1 AND (
    lease_until <= clock_timestamp()
    -- Leases that were not renewed for their duration by the clock of a node. The server's clock may have been set back.
    OR (id, lease_until) IN (SELECT o.id, o.lease_until FROM unnest($2::bigint[], $3::timestamptz[]) AS o (id, lease_until))
)
