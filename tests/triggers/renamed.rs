//! Renamed tables. A table is found through its triggers. It announces changes under its former name until it is installed again,
//! and loses none of them, whatever else is installed meanwhile.

use pgherald_core::__private::host;
use pgherald_core::__private::host::trigger::SpecParts;
use pgherald_core::Operation;
use pgherald_core::trigger::{self, TriggerSpec};

use super::support::{Scene, event, spec, table};

const SWAP: &str =
    "ALTER TABLE a RENAME TO x; ALTER TABLE b RENAME TO a; ALTER TABLE x RENAME TO b";

/// Creates tables with one column, installs their specifications, and renames the tables with `sql`.
async fn renamed(specs: &[TriggerSpec], sql: &str) -> Scene {
    let create = |spec: &TriggerSpec| {
        let name = spec.table().name();
        format!("CREATE TABLE {name} (id int PRIMARY KEY, v int);")
    };
    let scene = Scene::new(&specs.iter().map(create).collect::<String>()).await;
    scene.plan(specs).await.apply(&scene.client).await.unwrap();
    scene.run(sql).await;
    scene
}

/// Installs `spec` and nothing else.
async fn install(scene: &Scene, spec: TriggerSpec) {
    scene.install(spec.clone()).await;
    let again = scene.plan(&[spec]).await;
    assert!(again.is_empty(), "{again}");
}

/// Inserts into all tables in one transaction. Returns the announced events and the recorded ones.
async fn heard(scene: &mut Scene, tables: &[&str]) -> (Vec<String>, String) {
    let inserts: String = tables
        .iter()
        .map(|table| format!("INSERT INTO {table} VALUES (7, 7);"))
        .collect();
    let announced = scene.shapes(&inserts).await;
    let has_outbox = "SELECT to_regclass('pgherald.outbox_event')::text";
    let recorded = match &*scene.value(has_outbox).await {
        "" => String::new(),
        _ => {
            let sql = "SELECT string_agg(table_name || key, ' ' ORDER BY table_name) FROM pgherald.outbox_event";
            scene.value(sql).await
        }
    };
    (announced, recorded)
}

fn insert(table: &str) -> String {
    event("insert", table, r#","key":["id"],"keys":[7]"#)
}

#[tokio::test]
async fn a_renamed_table_is_announced_under_its_new_name_only() {
    let mut scene = Scene::new("CREATE TABLE users (id int PRIMARY KEY)").await;
    scene.install(spec("users")).await;
    scene.run("ALTER TABLE users RENAME TO people").await;
    scene.install(spec("people")).await;
    let shapes = scene.shapes("INSERT INTO people VALUES (1)").await;
    assert_eq!(
        shapes,
        [event("insert", "people", r#","key":["id"],"keys":[1]"#)]
    );
    let functions =
        "SELECT count(*)::text FROM pg_proc WHERE pronamespace = 'pgherald'::regnamespace";
    assert_eq!(scene.value(functions).await, "3");
    assert!(scene.plan(&[spec("people")]).await.is_empty());
}

#[tokio::test]
async fn tables_that_swapped_names_are_announced_under_their_new_names() {
    let mut scene = Scene::new("CREATE TABLE users (id int PRIMARY KEY)").await;
    scene.run("CREATE TABLE people (id int PRIMARY KEY)").await;
    let specs = [spec("users"), spec("people")];
    scene.plan(&specs).await.apply(&scene.client).await.unwrap();
    scene
        .run(
            "ALTER TABLE users RENAME TO x; ALTER TABLE people RENAME TO users;
             ALTER TABLE x RENAME TO people",
        )
        .await;
    scene.plan(&specs).await.apply(&scene.client).await.unwrap();
    assert!(scene.plan(&specs).await.is_empty());
    for name in ["users", "people"] {
        let shapes = scene
            .shapes(&format!("INSERT INTO {name} VALUES (1)"))
            .await;
        assert_eq!(
            shapes,
            [event("insert", name, r#","key":["id"],"keys":[1]"#)]
        );
    }
}

#[tokio::test]
async fn a_table_that_swapped_names_does_not_take_the_other_tables_triggers() {
    let (recorded, announced) = (|name| spec(name).outbox(), spec);
    let specs = [recorded("a"), announced("b")];
    // Whichever is installed first, the other table keeps its former name and is not mistaken for the new owner of that name.
    let mut scene = renamed(&specs, SWAP).await;
    install(&scene, announced("a")).await;
    assert!(scene.loses_changes(&recorded("b")).await);
    let expected = (vec![insert("a")], "a7".to_owned());
    assert_eq!(heard(&mut scene, &["a", "b"]).await, expected);
    install(&scene, recorded("b")).await;
    let _ = scene
        .announced("DELETE FROM a; DELETE FROM b; TRUNCATE pgherald.outbox")
        .await;
    let expected = (vec![insert("a")], "b7".to_owned());
    assert_eq!(heard(&mut scene, &["a", "b"]).await, expected);

    let mut scene = renamed(&specs, SWAP).await;
    install(&scene, recorded("b")).await;
    assert!(scene.loses_changes(&announced("a")).await);
    let expected = (vec![insert("b")], "b7".to_owned());
    assert_eq!(heard(&mut scene, &["a", "b"]).await, expected);
    install(&scene, announced("a")).await;
    assert_eq!(scene.drift(&announced("a")).await, [""; 0]);
    assert_eq!(scene.drift(&recorded("b")).await, [""; 0]);
}

#[tokio::test]
async fn rotated_names_are_repaired_by_installing_again() {
    let specs = [spec("a"), spec("b"), spec("c").outbox(), spec("d")];
    let round = "ALTER TABLE a RENAME TO x; ALTER TABLE c RENAME TO a; ALTER TABLE b RENAME TO c;
        ALTER TABLE x RENAME TO b; ALTER TABLE d RENAME TO e";
    let mut scene = renamed(&specs, round).await;
    let now = [spec("a").outbox(), spec("b"), spec("c"), spec("e")];
    for desired in &now {
        assert!(scene.loses_changes(desired).await, "{desired:?}");
    }
    // Installing the tables one at a time, in any order, takes no triggers from the others.
    for desired in now.iter().rev() {
        install(&scene, desired.clone()).await;
    }
    for desired in &now {
        assert_eq!(scene.drift(desired).await, [""; 0]);
    }
    let expected = (vec![insert("b"), insert("c"), insert("e")], "a7".to_owned());
    assert_eq!(heard(&mut scene, &["a", "b", "c", "e"]).await, expected);
}

#[tokio::test]
async fn a_renamed_table_keeps_its_triggers_when_another_gets_its_name() {
    let anew = "ALTER TABLE a RENAME TO old; CREATE TABLE a (LIKE old INCLUDING ALL)";
    let mut scene = renamed(&[spec("a")], anew).await;
    install(&scene, spec("a").outbox()).await;
    let expected = (vec![insert("a")], "a7".to_owned());
    assert_eq!(heard(&mut scene, &["a", "old"]).await, expected);
    assert!(scene.loses_changes(&spec("old")).await);
    install(&scene, spec("old")).await;
    assert_eq!(scene.shapes("INSERT INTO old VALUES (8)").await.len(), 1);
    assert_eq!(scene.drift(&spec("a").outbox()).await, [""; 0]);
}

#[tokio::test]
async fn a_renamed_table_that_became_a_partition_of_its_successor_loses_nothing() {
    let partitioned = "ALTER TABLE a RENAME TO old;
        CREATE TABLE a (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
        ALTER TABLE a ATTACH PARTITION old FOR VALUES FROM (0) TO (100)";
    let specs = [
        spec("a"),
        spec("a").outbox().columns(["v"]),
        spec("a").outbox().when_changed(["v"]),
        spec("a").outbox().operations(Operation::Insert),
        spec("a").outbox().key_columns(["v"]),
    ];
    for desired in specs {
        let mut scene = renamed(&[spec("a").outbox()], partitioned).await;
        install(&scene, desired).await;
        // The table's own installation stays under its former name until it is installed again.
        assert_eq!(own_tables(&scene, "old").await, "a");
        let (_, recorded) = heard(&mut scene, &["old"]).await;
        assert!(recorded.contains("a7"), "{recorded}");
        install(&scene, spec("old").outbox()).await;
        assert_eq!(own_tables(&scene, "old").await, "old");
        scene.run("DELETE FROM old; TRUNCATE pgherald.outbox").await;
        let (_, recorded) = heard(&mut scene, &["old"]).await;
        assert!(recorded.contains("old7"), "{recorded}");
    }
    // Without uninstalling, the table would be announced under both names.
    let mut scene = renamed(&[spec("a")], partitioned).await;
    install(&scene, spec("a")).await;
    uninstall(&scene, "old").await;
    assert_eq!(heard(&mut scene, &["old"]).await.0, [insert("a")]);
}

async fn uninstall(scene: &Scene, name: &str) {
    let plan = trigger::plan_uninstall(&scene.client, &[table(name)]).await;
    plan.unwrap().apply(&scene.client).await.unwrap();
}

#[tokio::test]
async fn partitions_follow_a_table_that_is_renamed() {
    let mut scene = Scene::new(
        "CREATE TABLE a (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE a_1 PARTITION OF a FOR VALUES FROM (0) TO (100)",
    )
    .await;
    scene.install(spec("a")).await;
    scene
        .run("ALTER TABLE a RENAME TO old; CREATE TABLE a (id int PRIMARY KEY, v int)")
        .await;
    install(&scene, spec("a")).await;
    let announced = scene.shapes("INSERT INTO a_1 VALUES (7)").await;
    assert_eq!(announced, [insert("a")]);
    install(&scene, spec("old")).await;
    assert!(scene.plan(&[spec("a"), spec("old")]).await.is_empty());
    let announced = scene.shapes("INSERT INTO a_1 VALUES (8)").await;
    let expected = event("insert", "old", r#","key":["id"],"keys":[8]"#);
    assert_eq!(announced, [expected]);
}

/// The tables for which `table` has triggers of its own, rather than as a partition of another table.
async fn own_tables(scene: &Scene, table: &str) -> String {
    let sql = format!(
        "SELECT string_agg(DISTINCT obj_description(tgfoid, 'pg_proc')::json->>'table', ' ') FROM pg_trigger
         WHERE tgrelid = '{table}'::regclass AND tgname ~ '^pgherald_notify_[a-z]+$'"
    );
    scene.value(&sql).await
}

#[tokio::test]
async fn a_renamed_partition_with_its_own_triggers_keeps_them_if_its_parent_is_watched() {
    for (create, anew) in [
        (
            "CREATE TABLE p (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
             CREATE TABLE a PARTITION OF p FOR VALUES FROM (0) TO (10)",
            "CREATE TABLE a PARTITION OF p FOR VALUES FROM (10) TO (20)",
        ),
        (
            "CREATE TABLE p (id int PRIMARY KEY, v int); CREATE TABLE a (PRIMARY KEY (id)) INHERITS (p)",
            "CREATE TABLE a (PRIMARY KEY (id)) INHERITS (p)",
        ),
    ] {
        let mut scene = Scene::new(create).await;
        let specs = [spec("p"), spec("a").outbox()];
        scene.plan(&specs).await.apply(&scene.client).await.unwrap();
        scene
            .run(&format!("ALTER TABLE a RENAME TO old; {anew}"))
            .await;
        install(&scene, spec("p")).await;
        install(&scene, spec("a").outbox()).await;
        assert_eq!(own_tables(&scene, "old").await, "a");
        install(&scene, spec("old").outbox()).await;
        let all = [spec("p"), spec("a").outbox(), spec("old").outbox()];
        assert!(scene.plan(&all).await.is_empty());
        let (announced, recorded) = heard(&mut scene, &["old"]).await;
        assert_eq!((announced, &*recorded), (vec![insert("p")], "old7"));
    }
}

/// Runs a statement for each function `f` of a table. `format` makes it from `parts`.
fn each_function(parts: &str) -> String {
    format!(
        "DO $$ DECLARE f regprocedure; BEGIN
            FOR f IN SELECT DISTINCT tgfoid::regprocedure FROM pg_trigger WHERE tgname ~ '^pgherald_' LOOP
                EXECUTE format({parts});
            END LOOP;
        END $$"
    )
}

#[tokio::test]
async fn installing_a_table_keeps_the_triggers_of_an_unknown_one() {
    let forget = each_function("'COMMENT ON FUNCTION %s IS NULL', f");
    let specs = [spec("a"), spec("b")];
    let mut scene = renamed(&specs, &format!("{SWAP}; {forget}")).await;
    install(&scene, spec("a")).await;
    assert_eq!(
        heard(&mut scene, &["a", "b"]).await.0,
        [insert("a"), insert("a")]
    );
    assert_eq!(scene.drift(&spec("b")).await.len(), 1);
    install(&scene, spec("b")).await;
    assert_eq!(scene.drift(&spec("a")).await, [""; 0]);
    assert_eq!(scene.drift(&spec("b")).await, [""; 0]);
}

/// Between planning and applying, another table takes over the function.
#[tokio::test]
async fn a_plan_that_precedes_a_rename_is_rejected() {
    let specs = [spec("a").columns(["v"]), spec("b")];
    let scene = renamed(&specs, "").await;
    for plan in [
        scene.plan(&[spec("a")]).await,
        scene.plan(&[spec("a"), spec("b").columns(["v"])]).await,
    ] {
        scene.run(SWAP).await;
        let before = scene.catalog().await;
        let error = plan.apply(&scene.client).await.unwrap_err();
        assert!(error.chain().contains("plan again"), "{}", error.chain());
        assert_eq!(scene.catalog().await, before);
        scene.run(SWAP).await;
    }
}

/// Only manual changes lead to this state.
#[tokio::test]
async fn tables_that_share_a_function_get_one_each() {
    let mut scene = renamed(&[spec("a")], "CREATE TABLE b (LIKE a INCLUDING ALL)").await;
    let function = scene
        .value("SELECT min(tgfoid::regproc::text) FROM pg_trigger WHERE NOT tgisinternal")
        .await;
    let share = format!(
        "CREATE TRIGGER pgherald_notify_insert AFTER INSERT ON b REFERENCING NEW TABLE AS pgherald_new
            FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
    );
    scene.run(&share).await;
    assert!(scene.loses_changes(&spec("b")).await);
    install(&scene, spec("b")).await;
    assert_eq!(scene.drift(&spec("a")).await, [""; 0]);
    assert_eq!(
        heard(&mut scene, &["a", "b"]).await.0,
        [insert("a"), insert("b")]
    );
}

/// A restore recreates functions under their old names, although the tables have new oids.
#[tokio::test]
async fn a_function_name_in_use_is_not_reused() {
    let scene = renamed(&[spec("a")], "").await;
    let next = "SELECT format('notify_%s00000000', lpad(to_hex('b'::regclass::oid::int8), 8, '0'))";
    scene
        .run("CREATE TABLE b (id int PRIMARY KEY, v int)")
        .await;
    let taken = scene.value(next).await;
    let rename = each_function(&format!("'ALTER FUNCTION %s RENAME TO {taken}', f"));
    scene.run(&rename).await;
    install(&scene, spec("a")).await;
    install(&scene, spec("b")).await;
    let mut scene = scene;
    assert_eq!(
        heard(&mut scene, &["a", "b"]).await.0,
        [insert("a"), insert("b")]
    );
    assert_eq!(scene.drift(&spec("a")).await, [""; 0]);
}

#[tokio::test]
async fn renamed_triggers_of_a_later_version_or_another_role_are_not_replaced() {
    let later = r#"'COMMENT ON FUNCTION %s IS %L', f, '{"version":1000}'"#;
    let stranger = "'ALTER FUNCTION %s OWNER TO stranger_%s', f,
        (SELECT oid FROM pg_database WHERE datname = current_database())";
    let role = "DO $$ BEGIN EXECUTE (SELECT 'CREATE ROLE stranger_' || oid
        FROM pg_database WHERE datname = current_database()); END $$";
    for (deed, why) in [(later, "version 1000"), (stranger, "belongs to stranger_")] {
        let sql = format!("{role}; ALTER TABLE a RENAME TO b; {}", each_function(deed));
        let scene = renamed(&[spec("a")], &sql).await;
        let error = trigger::plan(&scene.client, &[spec("b")])
            .await
            .unwrap_err();
        assert!(
            error.is_config() && error.to_string().contains(why),
            "{error}"
        );
    }
}

#[tokio::test]
async fn watched_reports_the_current_names_of_renamed_tables() {
    let scene = renamed(&[spec("a").outbox(), spec("b"), spec("c")], SWAP).await;
    scene.run("DROP TABLE c").await;
    let watched = host::trigger::watched(&scene.client).await.unwrap();
    for one in &watched {
        let (former, now) = match one.is_outbox {
            Some(true) => (Some(table("a")), Some(table("b"))),
            _ if one.table.is_some() => (Some(table("b")), Some(table("a"))),
            _ => (None, None),
        };
        assert_eq!((one.former(), &one.table), (former.as_ref(), &now));
        let expected = now.unwrap_or_else(|| table("c"));
        assert_eq!(*one.current().unwrap().table(), expected);
    }
    // As the documentation of `watched` recommends.
    let called = watched.iter().filter(|installed| installed.triggers > 0);
    let specs: Vec<_> = called.filter_map(|installed| installed.current()).collect();
    let plan = scene.plan(&specs).await;
    plan.apply(&scene.client).await.unwrap();
    assert_eq!(scene.drift(&spec("b").outbox()).await, [""; 0]);
    assert_eq!(scene.drift(&spec("a")).await, [""; 0]);
}

#[tokio::test]
async fn watching_a_renamed_table_under_its_new_name_is_drift() {
    for mode in [spec("a"), spec("a").outbox()] {
        let scene = renamed(std::slice::from_ref(&mode), "ALTER TABLE a RENAME TO z").await;
        for desired in [spec("z"), spec("z").outbox(), spec("a")] {
            assert!(scene.loses_changes(&desired).await, "{mode:?} {desired:?}");
        }
        let scene = renamed(&[mode.clone(), mode.clone().for_table(table("b"))], SWAP).await;
        for name in ["a", "b"] {
            let desired = mode.clone().for_table(table(name));
            assert!(scene.loses_changes(&desired).await, "{desired:?}");
            let drift = scene.drift(&desired).await.concat();
            assert!(drift.contains("under another name of the table"), "{drift}");
        }
    }
}

#[tokio::test]
async fn a_table_and_its_partition_that_swapped_names_both_keep_their_triggers() {
    for create in [
        "CREATE TABLE p (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
         CREATE TABLE a PARTITION OF p FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE p (id int PRIMARY KEY, v int); CREATE TABLE a (PRIMARY KEY (id)) INHERITS (p)",
    ] {
        for desired in ["p", "a"] {
            let scene = Scene::new(create).await;
            let specs = [spec("p").outbox(), spec("a").outbox()];
            scene.plan(&specs).await.apply(&scene.client).await.unwrap();
            scene
                .run("ALTER TABLE p RENAME TO x; ALTER TABLE a RENAME TO p; ALTER TABLE x RENAME TO a")
                .await;
            // The other table keeps its former name.
            install(&scene, spec(desired).outbox()).await;
            assert_eq!(own_tables(&scene, "p").await, desired, "{create} {desired}");
            assert_eq!(own_tables(&scene, "a").await, desired, "{create} {desired}");
            scene.plan(&specs).await.apply(&scene.client).await.unwrap();
            assert_eq!(own_tables(&scene, "p").await, "p", "{create} {desired}");
            assert_eq!(own_tables(&scene, "a").await, "a", "{create} {desired}");
            assert!(scene.plan(&specs).await.is_empty());
        }
    }
}
