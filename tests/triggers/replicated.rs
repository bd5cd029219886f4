//! Sessions with `session_replication_role = replica`, on tables that are installed with replicated rows.

mod altered;

use pgherald_core::Operation;
use pgherald_core::trigger::{self, TriggerSpec};

use super::support::{Scene, event, installed, recorded, spec, table};

const USERS: &str = "CREATE TABLE users (id int PRIMARY KEY, email text, score int)";
const ROLES: [&str; 3] = ["origin", "local", "replica"];

/// A database created by `sql`, with a session of this role.
async fn scene(sql: &str, spec: TriggerSpec, role: &str) -> Scene {
    let scene = installed(sql, spec.replicated()).await;
    scene
        .run(&format!("SET session_replication_role = {role}"))
        .await;
    scene
}

fn keyed(operation: &str, keys: &str) -> String {
    event(
        operation,
        "users",
        &format!(r#","key":["id"],"keys":{keys}"#),
    )
}

#[tokio::test]
async fn each_change_is_announced_once_in_sessions_of_every_role() {
    for role in ROLES {
        let mut scene = scene(USERS, spec("users"), role).await;
        for (sql, expected) in [
            ("INSERT INTO users VALUES (1, 'a')", keyed("insert", "[1]")),
            ("UPDATE users SET email = 'b'", keyed("update", "[1]")),
            ("UPDATE users SET id = 2", keyed("update", "[2,1]")),
            ("DELETE FROM users", keyed("delete", "[2]")),
            ("TRUNCATE users", event("truncate", "users", "")),
        ] {
            assert_eq!(scene.shapes(sql).await, [expected], "{role}: {sql}");
        }
        for sql in ["DELETE FROM users", "UPDATE users SET score = 1"] {
            assert_eq!(scene.shapes(sql).await, [""; 0], "{role}: {sql}");
        }
    }
}

#[tokio::test]
async fn a_key_that_is_also_a_column_is_announced_among_the_columns() {
    for spec in [
        spec("users").columns(["id", "email"]),
        spec("users").every_column(),
        spec("users").columns(["id"]).when_changed(["email", "id"]),
    ] {
        let mut announced = Vec::new();
        for role in ROLES {
            let mut scene = scene(USERS, spec.clone(), role).await;
            // Force the fallback for queries that fail in the function.
            let sql = "DO $$ BEGIN EXECUTE (SELECT format('ALTER FUNCTION %s RENAME TO gone', oid::regprocedure)
                FROM pg_proc WHERE proname = 'rows_query'); END $$";
            scene.run(sql).await;
            let mut shapes = Vec::new();
            for sql in [
                "INSERT INTO users VALUES (1, 'a', 3)",
                "UPDATE users SET email = 'b'",
                "UPDATE users SET id = 2",
                "DELETE FROM users",
            ] {
                let some = scene.shapes(sql).await;
                assert_eq!(some.len(), 1, "{role}: {sql}");
                assert!(
                    some[0].contains(r#""columns":[{"#),
                    "{role}: {sql}: {some:?}"
                );
                shapes.extend(some);
            }
            announced.push(shapes);
        }
        assert_eq!(announced[0], announced[1]);
        assert_eq!(announced[0], announced[2]);
    }
}

#[tokio::test]
async fn each_change_is_recorded_once_in_sessions_of_every_role() {
    let columns = spec("users").columns(["email"]).old_columns().outbox();
    for role in ROLES {
        let scene = scene(USERS, columns.clone(), role).await;
        let rows = recorded(&scene, "INSERT INTO users VALUES (1, 'a'), (2, 'b')").await;
        let expected = [r#"insert 1 {"email":"a"}"#, r#"insert 2 {"email":"b"}"#];
        assert_eq!(rows, expected, "{role}");
        let rows = recorded(&scene, "UPDATE users SET email = 'c' WHERE id = 1").await;
        let expected = [r#"update 1 {"email":"c"} {"email":"a"} {email}"#];
        assert_eq!(rows, expected, "{role}");
        let rows = recorded(&scene, "UPDATE users SET score = 5 WHERE id = 1").await;
        let expected = [r#"update 1 {"email":"c"} {"email":"c"} {}"#];
        assert_eq!(rows, expected, "{role}");
        let mut rows = recorded(&scene, "UPDATE users SET id = 3, email = 'd' WHERE id = 1").await;
        rows.sort();
        let expected = [r#"update 1 {"email":"c"}"#, r#"update 3 {"email":"d"}"#];
        assert_eq!(rows, expected, "{role}");
        let rows = recorded(&scene, "DELETE FROM users WHERE id = 3").await;
        assert_eq!(rows, [r#"delete 3 {"email":"d"}"#], "{role}");
        let rows = recorded(&scene, "TRUNCATE users").await;
        assert_eq!(rows, ["truncate"], "{role}");
    }
}

#[tokio::test]
async fn rows_without_columns_are_recorded_with_their_keys() {
    for role in ROLES {
        let scene = scene(USERS, spec("users").outbox(), role).await;
        scene
            .run("INSERT INTO users VALUES (1, 'a'), (2, 'b')")
            .await;
        let rows = recorded(&scene, "UPDATE users SET email = 'c' WHERE id = 1").await;
        assert_eq!(rows, ["update 1"], "{role}");
        let rows = recorded(&scene, "UPDATE users SET id = 3 WHERE id = 1").await;
        assert_eq!(rows, ["update 3", "update 1"], "{role}");
        assert_eq!(
            recorded(&scene, "DELETE FROM users").await.len(),
            2,
            "{role}"
        );
    }
}

#[tokio::test]
async fn only_the_specified_operations_are_recorded() {
    for spec in [spec("users"), spec("users").outbox()] {
        let spec = spec.operations(Operation::Update | Operation::Truncate);
        let is_outbox = spec.is_outbox();
        let mut scene = scene(USERS, spec, "replica").await;
        let sql = "INSERT INTO users VALUES (1); DELETE FROM users; INSERT INTO users VALUES (2);
            UPDATE users SET score = 1; TRUNCATE users";
        match is_outbox {
            true => assert_eq!(recorded(&scene, sql).await, ["update 2", "truncate"]),
            false => assert_eq!(scene.shapes(sql).await.len(), 2),
        }
    }
}

#[tokio::test]
async fn only_changed_rows_are_recorded() {
    let changed = spec("users").when_changed(["email"]);
    for key in [true, false] {
        let spec = match key {
            true => changed.clone(),
            false => changed.clone().key_columns([""; 0]),
        };
        let mut announcing = scene(USERS, spec.clone(), "replica").await;
        let recording = scene(USERS, spec.outbox(), "replica").await;
        let insert = "INSERT INTO users VALUES (1, 'a'), (2, NULL)";
        let _ = announcing.shapes(insert).await;
        recording.run(insert).await;
        for (sql, expected) in [
            ("UPDATE users SET score = 1, email = email", vec![]),
            ("UPDATE users SET email = 'a'", vec!["2"]),
            ("UPDATE users SET email = NULL WHERE id = 1", vec!["1"]),
        ] {
            let shapes = announcing.shapes(sql).await;
            let rows = recorded(&recording, sql).await;
            match (key, expected.first()) {
                (true, Some(id)) => {
                    assert_eq!(shapes, [keyed("update", &format!("[{id}]"))], "{sql}");
                    assert_eq!(rows, [format!("update {id}")], "{sql}");
                }
                (false, Some(_)) => {
                    assert_eq!(shapes, [event("update", "users", "")], "{sql}");
                    assert_eq!(rows, ["update"], "{sql}");
                }
                (_, None) => assert_eq!((shapes.len(), rows.len()), (0, 0), "{sql}"),
            }
        }
    }
}

#[tokio::test]
async fn a_table_without_a_key_is_announced_once_per_operation_and_transaction() {
    let sql = "CREATE TABLE log (line text)";
    let mut announcing = scene(sql, spec("log"), "replica").await;
    let recording = scene(sql, spec("log").outbox(), "replica").await;
    let insert = "INSERT INTO log VALUES ('a'), ('b'); INSERT INTO log VALUES ('c')";
    let both = format!("{insert}; DELETE FROM log");
    for (sql, expected) in [(insert, &["insert"][..]), (&both, &["insert", "delete"])] {
        let whole: Vec<_> = expected
            .iter()
            .map(|operation| event(operation, "log", ""))
            .collect();
        assert_eq!(announcing.shapes(sql).await, whole);
        assert_eq!(recorded(&recording, sql).await, expected);
    }
    // The rolled-back insert was not announced.
    let sql = "BEGIN; SAVEPOINT a; INSERT INTO log VALUES ('a'); ROLLBACK TO a; INSERT INTO log VALUES ('b'); COMMIT";
    assert_eq!(announcing.shapes(sql).await, [event("insert", "log", "")]);
    assert_eq!(recorded(&recording, sql).await, ["insert"]);
}

#[tokio::test]
async fn a_notification_lists_as_many_rows_of_a_transaction_as_of_a_statement() {
    let mut scene = scene(USERS, spec("users"), "replica").await;
    let insert = "INSERT INTO users SELECT n FROM generate_series(1, 1000) AS n";
    let shapes = scene.shapes(insert).await;
    assert_eq!(shapes.len(), 1_000);
    assert_eq!(shapes[999], keyed("insert", "[1000]"));
    let sql = "DELETE FROM users; INSERT INTO users SELECT n FROM generate_series(1, 2000) AS n";
    let shapes = scene.shapes(sql).await;
    assert_eq!(shapes.len(), 2_001);
    assert_eq!(shapes[999], keyed("delete", "[1000]"));
    assert_eq!(shapes[2_000], event("insert", "users", ""));
}

#[tokio::test]
async fn values_beyond_the_limit_are_unavailable() {
    let large = spec("users").columns(["email", "score"]);
    let insert = "INSERT INTO users VALUES (1, repeat('x', 9000), 7)";
    let columns = |limit| format!(r#"{{"email":{{"unavailable":{{"limit":{limit}}}}},"score":7}}"#);
    let mut announcing = scene(USERS, large.clone(), "replica").await;
    let rest = format!(r#","key":["id"],"keys":[1],"columns":[{}]"#, columns(7_999));
    assert_eq!(
        announcing.shapes(insert).await,
        [event("insert", "users", &rest)]
    );
    let recording = scene(USERS, large.outbox().value_limit(100), "replica").await;
    let expected = [format!("insert 1 {}", columns(100))];
    assert_eq!(recorded(&recording, insert).await, expected);
    // A key has no limit in the outbox. In a notification it has one.
    let insert = "INSERT INTO users VALUES (1, repeat('x', 9000), 7)";
    let by_email = spec("users").key_columns(["email"]);
    let mut announcing = scene(USERS, by_email.clone(), "replica").await;
    assert_eq!(
        announcing.shapes(insert).await,
        [event("insert", "users", "")]
    );
    let recording = scene(USERS, by_email.outbox(), "replica").await;
    assert!(recorded(&recording, insert).await[0].len() > 9_000);
}

#[tokio::test]
async fn a_transaction_sends_one_wake_up() {
    let scene = scene(USERS, spec("users").outbox(), "replica").await;
    let clock = "SELECT last_value::text FROM pgherald.outbox_clock";
    let set_back = "SELECT setval('pgherald.outbox_clock', 0)";
    scene.run("BEGIN; INSERT INTO users VALUES (1)").await;
    assert_ne!(scene.value(clock).await, "0");
    scene.run(set_back).await;
    scene.run("INSERT INTO users VALUES (2)").await;
    assert_eq!(scene.value(clock).await, "0");
    scene.run("COMMIT; INSERT INTO users VALUES (3)").await;
    assert_ne!(scene.value(clock).await, "0");
    // After a rollback the wake-up is sent again.
    scene.run(set_back).await;
    scene
        .run("BEGIN; SAVEPOINT s; INSERT INTO users VALUES (4); ROLLBACK TO s")
        .await;
    scene.run(set_back).await;
    scene.run("INSERT INTO users VALUES (5)").await;
    assert_ne!(scene.value(clock).await, "0");
}

const NESTED: &str = "CREATE FUNCTION nested() RETURNS trigger LANGUAGE plpgsql AS
        $f$ BEGIN UPDATE users SET score = score + 1 WHERE id = NEW.id; RETURN NULL; END $f$;
    CREATE TRIGGER a_first AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION nested();
    ALTER TABLE users ENABLE ALWAYS TRIGGER a_first";

#[tokio::test]
async fn the_last_event_has_the_values_of_a_nested_update() {
    let sql = format!("{USERS}; {NESTED}");
    let columns = spec("users").columns(["score"]);
    let insert = "INSERT INTO users VALUES (1, 'a', 10), (2, 'b', 20)";
    let recording = scene(&sql, columns.clone().outbox(), "replica").await;
    let rows = recorded(&recording, insert).await;
    let expected = [
        r#"update 1 {"score":11}"#,
        r#"insert 1 {"score":11}"#,
        r#"update 2 {"score":21}"#,
        r#"insert 2 {"score":21}"#,
    ];
    assert_eq!(rows, expected);
    let mut announcing = scene(&sql, columns, "replica").await;
    let shapes = announcing.shapes(insert).await;
    assert_eq!(shapes.len(), 4, "{shapes:?}");
    let last = r#","key":["id"],"keys":[2],"columns":[{"score":21}]"#;
    assert_eq!(shapes[3], event("insert", "users", last));
}

const EVENTS: &str = "CREATE TABLE users (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
    CREATE TABLE low PARTITION OF users FOR VALUES FROM (0) TO (100);
    CREATE TABLE high (v int, junk int, id int NOT NULL) PARTITION BY LIST (id);
    ALTER TABLE high DROP junk;
    ALTER TABLE users ATTACH PARTITION high FOR VALUES FROM (100) TO (200);
    CREATE TABLE highest PARTITION OF high FOR VALUES IN (199)";

#[tokio::test]
async fn rows_of_partitions_are_events_of_the_parent() {
    let columns = spec("users").columns(["v"]);
    let recording = scene(EVENTS, columns.clone().outbox(), "replica").await;
    let mut announcing = scene(EVENTS, columns.clone(), "replica").await;
    for (sql, expected) in [
        (
            "INSERT INTO users VALUES (1, 5), (199, 6)",
            &[r#"insert 1 {"v":5}"#, r#"insert 199 {"v":6}"#][..],
        ),
        ("INSERT INTO low VALUES (2, 5)", &[r#"insert 2 {"v":5}"#]),
        ("UPDATE highest SET v = 7", &[r#"update 199 {"v":7}"#]),
        // A change is applied where the row was and where it goes, and row-level triggers see no more than that.
        (
            "UPDATE users SET id = 3 WHERE id = 199",
            &[r#"delete 199 {"v":7}"#, r#"insert 3 {"v":7}"#],
        ),
        (
            "DELETE FROM low WHERE id < 3",
            &[r#"delete 1 {"v":5}"#, r#"delete 2 {"v":5}"#],
        ),
    ] {
        assert_eq!(recorded(&recording, sql).await, expected, "{sql}");
        let shapes = announcing.shapes(sql).await;
        let expected: Vec<_> = expected
            .iter()
            .map(|row| {
                let mut words = row.splitn(3, ' ');
                let mut word = || words.next().unwrap();
                let operation = word();
                let rest = format!(
                    r#","key":["id"],"keys":[{}],"columns":[{}]"#,
                    word(),
                    word()
                );
                event(operation, "users", &rest)
            })
            .collect();
        assert_eq!(shapes, expected, "{sql}");
    }
    // One event for the parent, and one for each partition.
    let truncated = recorded(&recording, "TRUNCATE users").await;
    assert_eq!(truncated, ["truncate"; 4]);
    assert_eq!(
        recording.drift(&columns.outbox().replicated()).await,
        [""; 0]
    );
}

#[tokio::test]
async fn children_and_partitions_are_watched_while_they_exist() {
    let sql =
        "CREATE TABLE users (id int PRIMARY KEY, v int); CREATE TABLE child () INHERITS (users)";
    let spec = spec("users").outbox().replicated();
    let inherited = scene(sql, spec.clone(), "replica").await;
    let rows = recorded(&inherited, "INSERT INTO child VALUES (1, 2)").await;
    assert_eq!(rows, ["insert 1"]);

    let scene = scene(EVENTS, spec.clone(), "replica").await;
    scene
        .run(
            "CREATE TABLE later PARTITION OF users FOR VALUES FROM (200) TO (300);
            ALTER TABLE users DETACH PARTITION low",
        )
        .await;
    let drifts = scene.drift(&spec).await;
    let (missing, left): (Vec<_>, Vec<_>) =
        drifts.iter().partition(|drift| drift.contains("missing"));
    assert_eq!((missing.len(), left.len()), (7, 7), "{drifts:?}");
    scene.install(spec.clone()).await;
    assert_eq!(scene.drift(&spec).await, [""; 0]);
    let rows = recorded(
        &scene,
        "INSERT INTO low VALUES (1); INSERT INTO users VALUES (200)",
    )
    .await;
    assert_eq!(rows, ["insert 200"]);
}

#[tokio::test]
async fn partition_and_parent_may_both_be_watched() {
    let scene = scene(EVENTS, spec("users").outbox(), "replica").await;
    scene.install(spec("low").outbox().replicated()).await;
    let rows = recorded(&scene, "INSERT INTO users VALUES (1)").await;
    assert_eq!(rows, ["insert 1", "insert 1"]);
}

#[tokio::test]
async fn enable_trigger_all_is_drift_and_announces_no_row_twice() {
    let mut scene = scene(USERS, spec("users"), "origin").await;
    let spec = spec("users").replicated();
    scene.run("ALTER TABLE users DISABLE TRIGGER ALL").await;
    assert_eq!(scene.drift(&spec).await.len(), 7);
    // As a data-only restore with --disable-triggers does.
    scene.run("ALTER TABLE users ENABLE TRIGGER ALL").await;
    let drift = scene.drift(&spec).await;
    assert_eq!(drift.len(), 4, "{drift:?}");
    let other = drift
        .iter()
        .filter(|drift| drift.contains("was installed to fire in other sessions"));
    assert_eq!(other.count(), 4, "{drift:?}");
    assert!(scene.loses_changes(&spec).await);
    assert_eq!(
        scene.shapes("INSERT INTO users VALUES (1)").await,
        [keyed("insert", "[1]")]
    );
    let always = "DO $$ BEGIN EXECUTE (SELECT string_agg(format('ALTER TABLE users ENABLE ALWAYS TRIGGER %I', tgname), '; ')
        FROM pg_trigger WHERE tgrelid = 'users'::regclass); END $$";
    scene.run(always).await;
    for (role, id) in [("replica", 2), ("origin", 3)] {
        let sql = format!("SET session_replication_role = {role}; INSERT INTO users VALUES ({id})");
        let expected = keyed("insert", &format!("[{id}]"));
        assert_eq!(scene.shapes(&sql).await, [expected], "{role}");
    }
    scene.run("ALTER TABLE users ENABLE TRIGGER ALL").await;
    scene.install(spec.clone()).await;
    assert_eq!(scene.drift(&spec).await, [""; 0]);
    let sql = "SET session_replication_role = replica; INSERT INTO users VALUES (4)";
    assert_eq!(scene.shapes(sql).await, [keyed("insert", "[4]")]);
}

const TRIGGERS: &str = "SELECT string_agg(
        format('%s %s %s %s %s', tgrelid::regclass, tgname, tgenabled, tgtype, prosrc), E'\n' ORDER BY tgrelid, tgname
    ) FROM pg_trigger JOIN pg_proc AS p ON p.oid = tgfoid";

#[tokio::test]
async fn uninstalling_leaves_nothing_behind() {
    let scene = Scene::new(EVENTS).await;
    let before = scene.catalog().await;
    for spec in [spec("users"), spec("users").outbox()] {
        scene.install(spec.clone()).await;
        let plain = scene.value(TRIGGERS).await;
        scene.install(spec.clone().replicated()).await;
        assert!(scene.plan(&[spec.clone().replicated()]).await.is_empty());
        // Uninstalling replicated rows leaves the same objects as an installation without them.
        scene.install(spec.clone()).await;
        assert_eq!(scene.value(TRIGGERS).await, plain);
        scene.install(spec.replicated()).await;
        let plan = trigger::plan_uninstall(&scene.client, &[table("users")]).await;
        plan.unwrap().apply(&scene.client).await.unwrap();
        assert_eq!(scene.catalog().await, before);
    }
}

#[tokio::test]
async fn a_renamed_table_keeps_its_row_triggers() {
    let scene = scene(USERS, spec("users").outbox(), "replica").await;
    scene.run("ALTER TABLE users RENAME TO people").await;
    let renamed = spec("people").outbox().replicated();
    assert!(scene.loses_changes(&renamed).await);
    let plan = scene.plan(std::slice::from_ref(&renamed)).await;
    assert!(!plan.sql().contains("TRIGGER \"pgherald"), "{plan}");
    plan.apply(&scene.client).await.unwrap();
    let rows = recorded(&scene, "INSERT INTO people VALUES (1)").await;
    assert_eq!(rows, ["insert 1"]);
}
