DECLARE
    running text;
BEGIN
    -- No consumer joins, and none renews its lease, until this is over.
    LOCK TABLE pgherald.consumer_node IN ACCESS EXCLUSIVE MODE;
    IF obj_description('pgherald.outbox'::regclass, 'pg_class')::json ->> 'version' IS DISTINCT FROM '{{from}}' THEN
        RAISE EXCEPTION 'pgherald.outbox was upgraded since this was planned; plan again'
            USING ERRCODE = 'serialization_failure';
    END IF;
    SELECT string_agg(DISTINCT format('%s of group %s', n.description, n.group_name), ', ') INTO running
    FROM pgherald.consumer_node AS n WHERE n.lease_until > clock_timestamp();
    IF running IS NOT NULL THEN
        RAISE EXCEPTION 'consumers of version {{from}} are running: %; stop them, and upgrade again (one that was killed counts until its lease is over)',
            running USING ERRCODE = 'object_in_use';
    END IF;
END
