//! The rows that tables in outbox mode record.

use pgherald_core::trigger::{self, TriggerSpec};
use pgherald_core::{ChannelName, Operation};

use super::support::{Listener, Scene, connect, installed, recorded, spec, table};

const USERS: &str = "CREATE TABLE users (id int PRIMARY KEY, email text, score numeric, big text)";

#[tokio::test]
async fn each_row_of_each_operation_is_recorded() {
    let scene = installed(USERS, spec("users").outbox()).await;
    let rows = recorded(&scene, "INSERT INTO users VALUES (1), (2)").await;
    assert_eq!(rows, ["insert 1", "insert 2"]);
    let rows = recorded(&scene, "UPDATE users SET email = 'a' WHERE id = 2").await;
    assert_eq!(rows, ["update 2"]);
    let rows = recorded(&scene, "UPDATE users SET id = id + 10 WHERE id = 2").await;
    assert_eq!(rows, ["update 12", "update 2"], "2 is gone");
    assert_eq!(
        recorded(&scene, "DELETE FROM users WHERE id = 1").await,
        ["delete 1"]
    );
    assert_eq!(recorded(&scene, "TRUNCATE users").await, ["truncate"]);
    for sql in [
        "UPDATE users SET email = 'b'",
        "DELETE FROM users",
        "INSERT INTO users SELECT 1 WHERE false",
    ] {
        assert_eq!(recorded(&scene, sql).await, [""; 0], "{sql}");
    }
    let sql = "SELECT concat_ws(' ', schema_name, table_name, key_columns, xid = pg_current_xact_id(), sent_at IS NULL)
        FROM pgherald.outbox_event LIMIT 1";
    assert_eq!(scene.value(sql).await, r#"public users ["id"] f f"#);
}

#[tokio::test]
async fn old_and_new_values_and_changed_columns_are_recorded() {
    let columns = spec("users").columns(["email", "score"]).old_columns();
    let scene = installed(USERS, columns.outbox()).await;
    let rows = recorded(
        &scene,
        "INSERT INTO users VALUES (1, 'a', 1.50), (2, NULL, NULL)",
    )
    .await;
    assert_eq!(
        rows,
        [
            r#"insert 1 {"email":"a","score":"1.50"}"#,
            r#"insert 2 {"email":null,"score":null}"#
        ]
    );
    let rows = recorded(&scene, "UPDATE users SET email = 'b'").await;
    assert_eq!(
        rows,
        [
            r#"update 1 {"email":"b","score":"1.50"} {"email":"a","score":"1.50"} {email}"#,
            r#"update 2 {"email":"b","score":null} {"email":null,"score":null} {email}"#
        ]
    );
    let rows = recorded(&scene, "UPDATE users SET score = 1.5 WHERE id = 1").await;
    assert!(rows[0].ends_with("{score}"), "{rows:?}");
    let rows = recorded(&scene, "UPDATE users SET big = 'c' WHERE id = 1").await;
    assert!(rows[0].ends_with("{}"), "{rows:?}");
    let rows = recorded(&scene, "DELETE FROM users WHERE id = 1").await;
    assert_eq!(rows, [r#"delete 1 {"email":"b","score":"1.5"}"#]);
}

#[tokio::test]
async fn a_changed_key_is_recorded_under_both_keys() {
    let columns = spec("users").columns(["email"]).old_columns();
    let scene = installed(USERS, columns.outbox()).await;
    scene
        .run("INSERT INTO users VALUES (1, 'a'), (2, 'b')")
        .await;
    // Each key takes the place of another one.
    let mut rows = recorded(
        &scene,
        "UPDATE users SET id = id + 10, email = email || '!'",
    )
    .await;
    rows.sort();
    assert_eq!(
        rows,
        [
            r#"update 1 {"email":"a"}"#,
            r#"update 11 {"email":"a!"}"#,
            r#"update 12 {"email":"b!"}"#,
            r#"update 2 {"email":"b"}"#
        ]
    );
}

#[tokio::test]
async fn any_number_of_rows_and_any_size_of_values_is_recorded() {
    let scene = installed(USERS, spec("users").every_column().outbox()).await;
    let sql =
        "INSERT INTO users SELECT n, 'x', n, repeat('y', 100) FROM generate_series(1, 5000) AS n";
    assert_eq!(recorded(&scene, sql).await.len(), 5_000);
    let rows = recorded(
        &scene,
        "UPDATE users SET big = repeat('z', 1000000) WHERE id = 7",
    )
    .await;
    assert_eq!((rows.len(), rows[0].len() > 1_000_000), (1, true));
    assert_eq!(
        recorded(&scene, "UPDATE users SET email = NULL")
            .await
            .len(),
        5_000
    );
    let keys = scene.value(
        "SELECT count(DISTINCT key::text)::text FROM pgherald.outbox_event WHERE operation = 'update'",
    );
    assert_eq!(keys.await, "5000");
}

#[tokio::test]
async fn only_changed_rows_are_recorded() {
    let changed = spec("users").when_changed(["email", "score"]);
    let scene = installed(USERS, changed.outbox()).await;
    scene
        .run("INSERT INTO users VALUES (1, 'a', 1), (2, 'b', 2), (3, NULL, NULL)")
        .await;
    assert_eq!(
        recorded(&scene, "UPDATE users SET big = 'x', email = email").await,
        [""; 0]
    );
    let rows = recorded(&scene, "UPDATE users SET email = 'a'").await;
    assert_eq!(rows, ["update 2", "update 3"]);
    let rows = recorded(&scene, "UPDATE users SET score = NULL, email = 'a'").await;
    assert_eq!(rows, ["update 1", "update 2"]);
    let mut rows = recorded(&scene, "UPDATE users SET id = 4 WHERE id = 3").await;
    rows.sort();
    assert_eq!(rows, ["update 3", "update 4"]);
}

#[tokio::test]
async fn a_table_without_a_key_is_recorded_as_a_whole() {
    let sql = "CREATE TABLE log (line text, level int)";
    let scene = installed(sql, spec("log").when_changed(["level"]).outbox()).await;
    assert_eq!(
        recorded(&scene, "INSERT INTO log VALUES ('a', 1), ('b', 2)").await,
        ["insert"]
    );
    assert_eq!(recorded(&scene, "UPDATE log SET line = 'c'").await, [""; 0]);
    assert_eq!(
        recorded(&scene, "UPDATE log SET level = 2").await,
        ["update"]
    );
    assert_eq!(
        recorded(&scene, "DELETE FROM log WHERE level = 9").await,
        [""; 0]
    );
    assert_eq!(recorded(&scene, "DELETE FROM log").await, ["delete"]);
}

#[tokio::test]
async fn composite_keys_and_moves_between_partitions_are_recorded() {
    let sql = r#"CREATE TABLE "Or'ders" (tenant text, id bigint, note text, PRIMARY KEY (tenant, id)) PARTITION BY RANGE (id);
        CREATE TABLE low PARTITION OF "Or'ders" FOR VALUES FROM (0) TO (100);
        CREATE TABLE high PARTITION OF "Or'ders" FOR VALUES FROM (100) TO (200)"#;
    let scene = installed(
        sql,
        spec("Or'ders").columns(["note"]).old_columns().outbox(),
    )
    .await;
    let rows = recorded(&scene, r#"INSERT INTO "Or'ders" VALUES ('x "y"', 1, 'n')"#).await;
    assert_eq!(rows, [r#"insert ["x \"y\"",1] {"note":"n"}"#]);
    // The row moves to the other partition.
    let mut rows = recorded(&scene, r#"UPDATE "Or'ders" SET id = 150, note = 'm'"#).await;
    rows.sort();
    assert_eq!(
        rows,
        [
            r#"update ["x \"y\"",150] {"note":"m"}"#,
            r#"update ["x \"y\"",1] {"note":"n"}"#
        ]
    );
    assert_eq!(
        recorded(&scene, "UPDATE high SET note = 'o'").await.len(),
        1
    );
}

#[tokio::test]
async fn rolled_back_changes_are_not_recorded() {
    let scene = installed(USERS, spec("users").outbox()).await;
    let sql = "BEGIN; INSERT INTO users VALUES (1); SAVEPOINT s; INSERT INTO users VALUES (2); ROLLBACK TO s; COMMIT;
        BEGIN; INSERT INTO users VALUES (3); ROLLBACK";
    assert_eq!(recorded(&scene, sql).await, ["insert 1"]);
}

#[tokio::test]
async fn writers_need_no_rights_on_the_outbox() {
    let scene = installed(USERS, spec("users").outbox()).await;
    scene
        .run("CREATE ROLE scribe; GRANT INSERT ON users TO scribe")
        .await;
    let rows = recorded(
        &scene,
        "SET ROLE scribe; INSERT INTO users VALUES (1); RESET ROLE",
    )
    .await;
    assert_eq!(rows, ["insert 1"]);
    scene
        .run("REVOKE ALL ON users FROM scribe; DROP ROLE scribe")
        .await;
}

#[tokio::test]
async fn a_renamed_column_is_left_out_and_keys_are_recorded() {
    let scene = installed(USERS, spec("users").columns(["email"]).outbox()).await;
    let rows = recorded(
        &scene,
        "ALTER TABLE users RENAME email TO mail; INSERT INTO users VALUES (1), (2)",
    )
    .await;
    assert_eq!(rows, ["insert 1 {}", "insert 2 {}"]);
}

#[tokio::test]
async fn no_statement_takes_a_transaction_id_of_its_own() {
    let compared = spec("users").columns(["email"]).old_columns();
    for (spec, alter) in [
        (spec("users"), ""),
        (compared.clone(), ""),
        (compared, "ALTER TABLE users RENAME email TO mail"),
    ] {
        let scene = installed(USERS, spec.outbox()).await;
        scene.run(alter).await;
        let ids =
            "SELECT count(DISTINCT xmin::text)::text || ' of ' || count(*) FROM pgherald.outbox";
        let insert = "INSERT INTO users VALUES (2); UPDATE users SET big = 'x'; DELETE FROM users WHERE id = 2;";
        scene
            .run(&format!(
                "BEGIN; INSERT INTO users VALUES (1); {} COMMIT",
                insert.repeat(10)
            ))
            .await;
        assert_eq!(scene.value(ids).await, "1 of 41", "{alter}");
    }
}

#[tokio::test]
async fn a_write_fails_if_the_outbox_is_missing() {
    let scene = installed(USERS, spec("users").outbox()).await;
    scene.run("DROP TABLE pgherald.outbox CASCADE").await;
    let error = scene
        .client
        .batch_execute("INSERT INTO users VALUES (1)")
        .await
        .unwrap_err();
    assert!(
        error
            .as_db_error()
            .unwrap()
            .message()
            .contains("pgherald.outbox"),
        "{error:?}"
    );
    let drift = scene.drift(&spec("users").outbox()).await;
    assert_eq!(
        drift,
        ["public.users: there is no outbox to record changes in; install the triggers"]
    );
}

#[tokio::test]
async fn wake_ups_are_sent_at_most_once_per_interval() {
    let scene = installed(USERS, spec("users").outbox()).await;
    let mut listener = Listener::on(&scene.url, "pgherald_outbox").await;
    scene.run("INSERT INTO users VALUES (1)").await;
    assert_eq!(listener.heard(&scene.client).await, [""]);
    // Repeat until a row is surely recorded less than 50 ms after the last wake-up.
    let just_now = "SELECT setval('pgherald.outbox_clock', (extract(epoch FROM clock_timestamp()) * 1000)::bigint << 2);
        INSERT INTO users SELECT count(*) + 1 FROM users";
    let still = "SELECT extract(epoch FROM clock_timestamp()) * 1000 - (last_value >> 2) < 45 FROM pgherald.outbox_clock";
    loop {
        scene.run(just_now).await;
        let still = scene.value(&format!("SELECT ({still})::text")).await == "true";
        let heard = listener.heard(&scene.client).await;
        if still {
            assert_eq!(heard, [""; 0]);
            break;
        }
    }
    scene
        .run("SELECT setval('pgherald.outbox_clock', 4000000000000 << 2)")
        .await;
    // A clock that was set back does not suppress wake-ups.
    scene.run("INSERT INTO users VALUES (0)").await;
    assert_eq!(listener.heard(&scene.client).await, [""]);
}

#[tokio::test]
async fn a_table_can_change_its_mode_and_change_back() {
    let mut scene = installed(USERS, spec("users")).await;
    let announced = scene.announced("INSERT INTO users VALUES (1)").await;
    assert_eq!(announced.len(), 1);
    assert_eq!(scene.drift(&spec("users").outbox()).await.len(), 2);
    scene.install(spec("users").outbox()).await;
    assert!(scene.plan(&[spec("users").outbox()]).await.is_empty());
    assert_eq!(scene.drift(&spec("users").outbox()).await, [""; 0]);
    let rows = recorded(&scene, "INSERT INTO users VALUES (2)").await;
    assert_eq!(rows, ["insert 2"]);
    assert_eq!(scene.announced("SELECT 1").await, [""; 0]);
    scene.install(spec("users")).await;
    assert_eq!(
        scene.announced("INSERT INTO users VALUES (3)").await.len(),
        1
    );
}

#[tokio::test]
async fn the_outbox_is_removed_with_the_last_table() {
    let scene =
        Scene::new("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)")
            .await;
    let before = scene.catalog().await;
    let specs = [spec("a").outbox(), spec("b")];
    scene.plan(&specs).await.apply(&scene.client).await.unwrap();
    scene.run("INSERT INTO a VALUES (1)").await;
    let uninstall = async |name| {
        let plan = trigger::plan_uninstall(&scene.client, &[table(name)])
            .await
            .unwrap();
        plan.apply(&scene.client).await.unwrap();
    };
    uninstall("a").await;
    assert_eq!(scene.drift(&specs[1]).await, [""; 0]);
    uninstall("b").await;
    assert_eq!(scene.catalog().await, before);
}

#[tokio::test]
async fn contradictory_options_are_rejected() {
    let scene =
        Scene::new("CREATE TABLE users (id int PRIMARY KEY); CREATE TABLE log (line text)").await;
    let refused = async |spec: TriggerSpec| {
        let error = trigger::plan(&scene.client, &[spec]).await.unwrap_err();
        error.to_string()
    };
    let channel = ChannelName::new("users").unwrap();
    let cases = [
        (spec("users").outbox().channel(channel), "name no channel"),
        (
            spec("users").columns(["id"]).old_columns(),
            "use the outbox",
        ),
        (
            spec("users").outbox().old_columns(),
            "old columns need columns",
        ),
        (spec("log").outbox().every_column(), "need a key"),
        (
            spec("users")
                .outbox()
                .operations(Operation::Insert)
                .when_changed(["id"]),
            "needs updates",
        ),
    ];
    for (spec, expected) in cases {
        let error = refused(spec).await;
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_foreign_table_named_outbox_is_rejected() {
    let scene = Scene::new(USERS).await;
    scene
        .run("CREATE SCHEMA pgherald; CREATE TABLE pgherald.outbox (id int)")
        .await;
    let error = trigger::plan(&scene.client, &[spec("users").outbox()])
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("its comment is not pgherald's"),
        "{error}"
    );
    let other = connect(&scene.url).await;
    other
        .batch_execute("DROP TABLE pgherald.outbox")
        .await
        .unwrap();
    scene.install(spec("users").outbox()).await;
}

/// A schema with a namesake of everything named in `pg_catalog`. Each namesake raises an error.
const TRAPS: &str = r#"
CREATE SCHEMA evil;
GRANT USAGE ON SCHEMA evil TO PUBLIC;
DO $traps$
DECLARE
    f record;
BEGIN
    FOR f IN
        SELECT p.proname, pg_get_function_identity_arguments(p.oid) AS arguments, format_type(p.prorettype, NULL) AS returns
        FROM pg_proc AS p
        WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND NOT p.proretset
    LOOP
        BEGIN
            EXECUTE format(
                'CREATE FUNCTION evil.%I(%s) RETURNS %s LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION ''trap''; END$$',
                f.proname, f.arguments, f.returns
            );
        EXCEPTION WHEN OTHERS THEN
            NULL;  -- of types that have no functions in plpgsql
        END;
    END LOOP;
    FOR f IN
        SELECT o.oprname, o.oprleft, o.oprright, o.oprresult
        FROM pg_operator AS o
        WHERE o.oprnamespace = 'pg_catalog'::regnamespace AND o.oprleft <> 0
    LOOP
        BEGIN
            EXECUTE format(
                'CREATE FUNCTION evil.trap(%1$s, %2$s) RETURNS %3$s LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION ''trap''; END$$',
                format_type(f.oprleft, NULL), format_type(f.oprright, NULL), format_type(f.oprresult, NULL)
            );
        EXCEPTION WHEN OTHERS THEN
            NULL;  -- there is one for these types, or cannot be
        END;
        BEGIN
            EXECUTE format(
                'CREATE OPERATOR evil.%1$s (LEFTARG = %2$s, RIGHTARG = %3$s, FUNCTION = evil.trap)',
                f.oprname, format_type(f.oprleft, NULL), format_type(f.oprright, NULL)
            );
        EXCEPTION WHEN OTHERS THEN
            NULL;
        END;
    END LOOP;
    CREATE FUNCTION evil.sprung() RETURNS bool LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $q$trap$q$; END';
    FOR f IN SELECT unnest(ARRAY['int2', 'int4', 'int8', 'text', 'bool', 'char', 'regclass', 'float8']) AS name LOOP
        EXECUTE format('CREATE DOMAIN evil.%1$I AS pg_catalog.%1$I CHECK (evil.sprung())', f.name);
    END LOOP;
    CREATE COLLATION evil."C" FROM "POSIX";
END
$traps$"#;

#[tokio::test]
async fn no_object_on_the_writers_search_path_runs_with_the_owners_rights() {
    let sql = "CREATE TABLE users (id int PRIMARY KEY, email text);
        CREATE TABLE orders (tenant text, number bigint, flag bool, PRIMARY KEY (tenant, number));
        CREATE TABLE log (line text)";
    let scene = Scene::new(sql).await;
    let specs = [
        spec("users").columns(["email"]).outbox(),
        spec("orders").every_column().outbox(),
        spec("log").outbox(),
    ];
    scene.plan(&specs).await.apply(&scene.client).await.unwrap();
    scene.run(TRAPS).await;
    let traps = "SELECT concat((SELECT count(*) > 300 FROM pg_operator WHERE oprnamespace = 'evil'::regnamespace),
        (SELECT count(*) > 1000 FROM pg_proc WHERE pronamespace = 'evil'::regnamespace))";
    assert_eq!(scene.value(traps).await, "tt", "the traps are set");
    let settings = "SELECT string_agg(concat(proname ~ '^notify_[0-9a-f]{16}$' AND proconfig IS NULL), '')
        FROM pg_proc WHERE pronamespace = 'pgherald'::regnamespace AND proname ~ '^notify_[0-9a-f]{16}$'";
    assert_eq!(
        scene.value(settings).await,
        "ttt",
        "none of them is protected otherwise"
    );
    scene
        .run("SET search_path = evil, pg_catalog, public")
        .await;
    for trapped in ["SELECT 1 = 1", "SELECT abs(1)", "SELECT 1::int8"] {
        assert!(
            scene.client.batch_execute(trapped).await.is_err(),
            "{trapped}"
        );
    }
    scene
        .run(
            "INSERT INTO public.users VALUES (1, 'a'), (2, NULL);
             UPDATE public.users SET email = 'b';
             INSERT INTO public.orders VALUES ('x', 1, true);
             UPDATE public.orders SET flag = NULL;
             UPDATE public.orders SET number = 2;
             INSERT INTO public.log VALUES ('a');
             UPDATE public.log SET line = 'b';
             DELETE FROM public.log;
             DELETE FROM public.orders;
             DELETE FROM public.users;
             TRUNCATE public.users",
        )
        .await;
    scene.run("RESET search_path").await;
    let sql = "SELECT string_agg(concat(left(operation, 1), key), ' ' ORDER BY id) FROM pgherald.outbox_event";
    let recorded = r#"i1 i2 u1 u2 i["x",1] u["x",1] u["x",2] u["x",1] i u d d["x",2] d1 d2 t"#;
    assert_eq!(
        scene.value(sql).await,
        recorded,
        "rows, and no fallback to whole tables"
    );
}

/// A session keeps the plan of its first statements, which may have changed few rows.
#[tokio::test]
async fn the_time_of_a_large_statement_after_small_ones_is_proportional_to_its_rows() {
    let plain = || spec("users").outbox();
    let specs = [
        (plain(), 0),
        (plain().key_columns(["email"]), 50_001),
        (plain().columns(["email"]).old_columns(), 0),
        (plain().when_changed(["email"]), 0),
    ];
    for (spec, gone) in specs {
        let scene = installed(USERS, spec.clone()).await;
        let fill = "INSERT INTO users SELECT i, i % 50000 FROM generate_series(1, 100000) AS i";
        scene.run(fill).await;
        for round in 1..=6 {
            let sql = format!("UPDATE users SET email = 'a{round}' WHERE id = 1");
            scene.run(&sql).await;
        }
        // With nested loops the statement would take minutes. With a hash join or a merge join it takes a second.
        scene.run("SET statement_timeout = '60s'").await;
        let last = scene
            .value("SELECT max(id)::text FROM pgherald.outbox")
            .await;
        scene.run("UPDATE users SET email = email || 'b'").await;
        let sql = format!("SELECT count(*)::text FROM pgherald.outbox WHERE id > {last}");
        let expected = (100_000 + gone).to_string();
        assert_eq!(scene.value(&sql).await, expected, "{spec:?}");
    }
}

#[tokio::test]
async fn repeated_keys_are_recorded_once_per_row_and_once_when_deleted() {
    let scene = installed(USERS, spec("users").outbox().key_columns(["email"])).await;
    let sql = "INSERT INTO users VALUES (1, 'a'), (2, 'a'), (3, NULL), (4, 'b')";
    scene.run(sql).await;
    let mut rows = recorded(&scene, "UPDATE users SET score = 1 WHERE email = 'a'").await;
    assert_eq!(rows, [r#"update "a""#; 2]);
    rows = recorded(&scene, "UPDATE users SET email = 'c' WHERE id <> 4").await;
    rows.sort();
    let expected = [
        r#"update "a""#,
        r#"update "c""#,
        r#"update "c""#,
        r#"update "c""#,
        "update null",
    ];
    assert_eq!(rows, expected);
}

/// A snapshot holds up to 64 subtransactions of a transaction. Beyond that, each reader of it looks them up on disk.
#[tokio::test]
async fn statements_take_no_transaction_ids_of_their_own() {
    let each = "DO $$ BEGIN FOR i IN 1 .. 100 LOOP
            INSERT INTO users VALUES (i, 'a'); UPDATE users SET email = 'b' WHERE id = i; DELETE FROM users WHERE id = i;
        END LOOP; END $$";
    let ids = "SELECT count(DISTINCT xmin::text) || ' of ' || count(*) FROM pgherald.outbox";
    let columns = || spec("users").columns(["email", "score"]);
    let specs = [
        spec("users"),
        columns(),
        columns().old_columns().when_changed(["email"]),
        spec("users").key_columns([""; 0]),
        spec("users").key_columns([""; 0]).when_changed(["email"]),
    ];
    for spec in specs {
        let scene = installed(USERS, spec.clone().outbox()).await;
        scene.run(each).await;
        assert_eq!(scene.value(ids).await, "1 of 300", "{spec:?}");
        // Also with altered columns, and with statements in triggers.
        scene
            .run(
                "TRUNCATE pgherald.outbox; ALTER TABLE users DROP score; ALTER TABLE users RENAME big TO large;
                 CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS
                    'BEGIN UPDATE users SET email = upper(email) WHERE id = NEW.id; RETURN NULL; END';
                 CREATE TRIGGER again AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION again()",
            )
            .await;
        scene.run(each).await;
        assert_eq!(scene.value(ids).await, "1 of 400", "{spec:?}");
    }
}
