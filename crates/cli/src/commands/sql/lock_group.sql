-- Locks group $1, so that a consumer that joins it waits.
SELECT FROM pgherald.consumer_group WHERE name = $1 FOR UPDATE
