//! Functions and operators in schema public, which another role has created so that commands call them.

use super::support::{Ran, Running, Scene};

/// Creates, as another role, copies of the server's functions and operators, and some that match arguments better than the server's.
const TRAPS: &str = r#"
    CREATE ROLE {role}; GRANT CREATE ON SCHEMA public TO {role}; SET ROLE {role}; SET search_path = pg_catalog;
    DO $do$
    DECLARE
        r record;
        operator text;
        body CONSTANT text := 'LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION ''trapped by %'', $1; END $$';
    BEGIN
        FOR r IN
            SELECT p.proname, oidvectortypes(p.proargtypes) AS arguments, p.prorettype::regtype AS result, p.oid::regprocedure AS name
            FROM pg_proc AS p
            WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND NOT p.proretset AND p.pronargs > 0
                AND p.provariadic = 0 AND p.prorettype NOT IN (SELECT oid FROM pg_type WHERE typtype = 'p')
                AND NOT EXISTS (
                    SELECT FROM unnest(p.proargtypes) AS a JOIN pg_type AS t ON t.oid = a WHERE t.typtype = 'p'
                )
        LOOP
            EXECUTE format('CREATE FUNCTION public.%I(%s) RETURNS %s ', r.proname, r.arguments, r.result)
                || replace(replace(body, ', $1', ''), '%', replace(r.name::text, '"', ''));
        END LOOP;
        FOR r IN
            SELECT DISTINCT a, b, c, n FROM unnest(ARRAY['text', 'name', 'int4', 'int8', 'oid', 'interval', 'timestamptz', 'xid', 'regprocedure']) AS a,
                unnest(ARRAY['', ', text', ', name', ', xid', ', oid', ', int4', ', timestamptz']) AS b,
                unnest(ARRAY['', ', text', ', name', ', xid', ', oid', ', interval', ', timestamptz']) AS c,
                unnest(ARRAY['format', 'concat_ws']) AS n
            WHERE b <> '' OR c = ''
        LOOP
            EXECUTE format('CREATE FUNCTION public.%I(text, %s%s%s) RETURNS text ', r.n, r.a, r.b, r.c) || body;
        END LOOP;
        FOR r IN
            SELECT o.oprname, o.oprleft::regtype AS l, o.oprright::regtype AS r, o.oprcode, o.oprresult::regtype AS result, p.proname
            FROM pg_operator AS o JOIN pg_proc AS p ON p.oid = o.oprcode
            WHERE o.oprnamespace = 'pg_catalog'::regnamespace AND o.oprkind = 'b'
                AND to_regprocedure(format('public.%I(%s, %s)', p.proname, o.oprleft::regtype, o.oprright::regtype)) IS NOT NULL
        LOOP
            EXECUTE format('CREATE OPERATOR public.%s (FUNCTION = public.%I, LEFTARG = %s, RIGHTARG = %s)', r.oprname, r.proname, r.l, r.r);
        END LOOP;
        CREATE FUNCTION public.names(name, name) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped by names'; END $$;
        FOREACH operator IN ARRAY ARRAY['~', '~*', '~~', '!~'] LOOP
            EXECUTE format('CREATE OPERATOR public.%s (FUNCTION = public.names, LEFTARG = name, RIGHTARG = name)', operator);
        END LOOP;
    END $do$;
    RESET ROLE; RESET search_path;
"#;

async fn trapped() -> Scene {
    let scene = Scene::new(
        "CREATE TABLE users (id int PRIMARY KEY); CREATE TABLE orders (id int PRIMARY KEY)",
    )
    .await;
    let role = scene
        .value("SELECT 'mallory_' || oid FROM pg_database WHERE datname = current_database()")
        .await;
    scene.run(&TRAPS.replace("{role}", &role)).await;
    let called = scene
        .client
        .query_one("SELECT format('%s', 'x'::name)", &[])
        .await;
    assert!(called.is_err(), "nothing is trapped");
    scene
}

/// Asserts that the command succeeded and called no trap.
fn unharmed(ran: &Ran) {
    assert!(ran.code == 0 && !ran.stdout.contains("trapped"), "{ran:?}");
    assert_eq!(ran.stderr, "");
}

async fn each_command_is_unharmed(scene: &Scene, users: &str, orders: &str) {
    let notify = ["install", users, "--commit"];
    let outbox = ["install", orders, "--mode", "outbox", "--commit"];
    for arguments in [&notify[..], &outbox, &["doctor"], &["status"]] {
        unharmed(&scene.pgherald(arguments).await);
    }
    let mut watch = Running::start(scene, &["watch", "--count", "2"]);
    watch.line(|line| line.contains("live")).await;
    watch.line(|line| line.contains("live")).await;
    scene
        .run("INSERT INTO users VALUES (1); INSERT INTO orders VALUES (1)")
        .await;
    assert_eq!(watch.code().await, 0, "{:?}", watch.seen);
    scene
        .run(
            "INSERT INTO pgherald.consumer_group (name, slices) VALUES ('g', 1);
            INSERT INTO pgherald.consumer_slice VALUES ('g', 0, NULL, 0);
            INSERT INTO pgherald.consumer_cursor VALUES ('g', 0, 0, 0, pg_current_snapshot()::text || ' 0 0 0');
            INSERT INTO pgherald.parked_event
                (group_name, id, slice, sent_at, relation, hash, operation, attempts, dead_at)
                VALUES ('g', 1, 0, now(), 1, 1, 'I', 3, now()), ('g', 2, 0, now(), 1, 1, 'I', 3, now())",
        )
        .await;
    for arguments in [
        &["doctor"][..],
        &["status"],
        &["group", "pause", "g"],
        &["group", "resume", "g"],
        &["group", "seek", "g", "beginning"],
        &["group", "list"],
        &["group", "show", "g"],
        &["parked", "list"],
        &["group", "seek", "g", "now", "--commit"],
        &["group", "seek", "g", "1 second ago"],
        &["dead-letters", "list"],
        &["dead-letters", "retry", "g", "1"],
        &["parked", "show", "g", "1"],
        &["parked", "retry", "g", "--all"],
        &["parked", "retry", "g", "1"],
        &["dead-letters", "discard", "g", "--all"],
        &["install", users, "--sql"],
        &["group", "delete", "g"],
        &["group", "delete", "g", "--commit"],
        &["upgrade"],
        &["uninstall", users, "--commit"],
        &["uninstall", "--all", "--commit"],
    ] {
        unharmed(&scene.pgherald(arguments).await);
    }
}

#[tokio::test]
async fn commands_call_no_functions_of_other_roles() {
    let scene = trapped().await;
    each_command_is_unharmed(&scene, "users", "orders").await;
}

#[tokio::test]
async fn commands_call_no_functions_of_other_roles_with_pg_catalog_last_on_the_search_path() {
    let mut scene = trapped().await;
    scene.url += "?options=-c%20search_path%3Dpublic%2Cpg_catalog";
    each_command_is_unharmed(&scene, "public.users", "public.orders").await;
}
