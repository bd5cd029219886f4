-- Of how many rows an event waits for another attempt; of resyncs, each is its own.
SELECT group_name, count(DISTINCT (relation, coalesce(key, id::text)))
FROM pgherald.parked_event WHERE dead_at IS NULL GROUP BY group_name
