-- A consumer that joins group $1 waits.
SELECT FROM pgherald.consumer_group WHERE name = $1 FOR UPDATE
