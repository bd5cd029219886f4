//! Tables that have changed names: a function is called after its table, and keeps its name when the table gets another.

use pgherald_core::Operation;
use pgherald_core::trigger::{self, TriggerSpec};

use super::support::{Scene, event, spec, table};

const SWAP: &str =
    "ALTER TABLE a RENAME TO x; ALTER TABLE b RENAME TO a; ALTER TABLE x RENAME TO b";

/// Tables of one column each, installed and then renamed with `sql`.
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

/// Applies the plan of `spec`, and says which tables it moved.
async fn moved(scene: &Scene, spec: TriggerSpec) -> String {
    let plan = scene.plan(std::slice::from_ref(&spec)).await;
    plan.apply(&scene.client).await.unwrap();
    let again = scene.plan(&[spec]).await;
    assert!(again.is_empty(), "{again}");
    assert!(again.moved().is_empty());
    let names: Vec<_> = plan.moved().iter().map(ToString::to_string).collect();
    names.join(" ")
}

/// The tables that announce their insertions, all of them made in one transaction, and those that record them.
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
async fn tables_that_swapped_names_are_announced_under_their_new_ones() {
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
async fn a_table_that_swapped_names_with_another_does_not_take_its_triggers() {
    let specs = [spec("a").outbox(), spec("b")];
    let mut scene = renamed(&specs, SWAP).await;
    assert_eq!(moved(&scene, spec("a")).await, "public.b");
    let expected = (vec![insert("a")], "b7".to_owned());
    assert_eq!(heard(&mut scene, &["a", "b"]).await, expected);

    let mut scene = renamed(&specs, SWAP).await;
    assert_eq!(moved(&scene, spec("b").outbox()).await, "public.a");
    assert_eq!(heard(&mut scene, &["a", "b"]).await, expected);
}

#[tokio::test]
async fn names_that_went_round_are_all_put_right() {
    let specs = [spec("a"), spec("b"), spec("c").outbox(), spec("d")];
    let round = "ALTER TABLE a RENAME TO x; ALTER TABLE c RENAME TO a; ALTER TABLE b RENAME TO c;
        ALTER TABLE x RENAME TO b; ALTER TABLE d RENAME TO e";
    let mut scene = renamed(&specs, round).await;
    assert_eq!(moved(&scene, spec("a").outbox()).await, "public.b public.c");
    let expected = (
        vec![
            insert("b"),
            insert("c"),
            event("insert", "d", r#","key":["id"],"keys":[7]"#),
        ],
        "a7".to_owned(),
    );
    assert_eq!(heard(&mut scene, &["a", "b", "c", "e"]).await, expected);
}

#[tokio::test]
async fn a_renamed_table_keeps_its_triggers_when_another_gets_its_name() {
    let anew = "ALTER TABLE a RENAME TO old; CREATE TABLE a (LIKE old INCLUDING ALL)";
    let mut scene = renamed(&[spec("a")], anew).await;
    assert_eq!(moved(&scene, spec("a").outbox()).await, "public.old");
    let expected = (vec![insert("old")], "a7".to_owned());
    assert_eq!(heard(&mut scene, &["a", "old"]).await, expected);
}

#[tokio::test]
async fn a_renamed_table_that_became_a_partition_of_its_successor_is_watched_as_such() {
    let partitioned = "ALTER TABLE a RENAME TO old;
        CREATE TABLE a (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
        ALTER TABLE a ATTACH PARTITION old FOR VALUES FROM (0) TO (100)";
    let mut scene = renamed(&[spec("a")], partitioned).await;
    assert_eq!(scene.plan(&[spec("a")]).await.merged(), [table("old")]);
    assert_eq!(moved(&scene, spec("a")).await, "");
    let (announced, _) = heard(&mut scene, &["a"]).await;
    assert_eq!(announced, [insert("a")]);
    let announced = scene.shapes("DELETE FROM old").await;
    let expected = event("delete", "a", r#","key":["id"],"keys":[7]"#);
    assert_eq!(announced, [expected]);
}

#[tokio::test]
async fn partitions_follow_a_table_that_is_moved() {
    let scene = Scene::new(
        "CREATE TABLE a (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE a_1 PARTITION OF a FOR VALUES FROM (0) TO (100)",
    )
    .await;
    scene.install(spec("a")).await;
    scene
        .run("ALTER TABLE a RENAME TO old; CREATE TABLE a (id int PRIMARY KEY, v int)")
        .await;
    let mut scene = scene;
    assert_eq!(moved(&scene, spec("a")).await, "public.old");
    assert!(scene.plan(&[spec("a"), spec("old")]).await.is_empty());
    let announced = scene.shapes("INSERT INTO a_1 VALUES (7)").await;
    assert_eq!(announced, [insert("old")]);
}

/// Whether something is made of `table` besides the triggers that it has for the sake of another one.
async fn roots(scene: &Scene, table: &str) -> String {
    let sql = format!(
        "SELECT string_agg(DISTINCT obj_description(tgfoid, 'pg_proc')::json->>'table', ' ') FROM pg_trigger
         WHERE tgrelid = '{table}'::regclass AND tgname ~ '^pgherald_notify_[a-z]+$'"
    );
    scene.value(&sql).await
}

#[tokio::test]
async fn a_renamed_partition_that_is_watched_apart_stays_so_with_its_parent_watched() {
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
        let plan = scene.plan(&specs).await;
        assert_eq!(
            (plan.moved(), plan.merged()),
            (&[table("old")][..], &[][..])
        );
        plan.apply(&scene.client).await.unwrap();
        let all = [spec("p"), spec("a").outbox(), spec("old").outbox()];
        assert!(scene.plan(&all).await.is_empty());
        let (announced, recorded) = heard(&mut scene, &["old"]).await;
        assert_eq!((announced, &*recorded), (vec![insert("p")], "old7"));
    }
}

#[tokio::test]
async fn a_renamed_table_that_became_a_partition_keeps_what_its_successor_does_not_do() {
    let partitioned = "ALTER TABLE a RENAME TO old;
        CREATE TABLE a (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
        ALTER TABLE a ATTACH PARTITION old FOR VALUES FROM (0) TO (100)";
    let wishes = [
        spec("a"),
        spec("a").outbox().columns(["v"]),
        spec("a").outbox().when_changed(["v"]),
        spec("a").outbox().operations(Operation::Insert),
        spec("a").outbox().key_columns(["v"]),
    ];
    for wish in wishes {
        let mut scene = renamed(&[spec("a").outbox()], partitioned).await;
        assert_eq!(moved(&scene, wish).await, "public.old");
        assert_eq!(roots(&scene, "old").await, "old");
        let (_, recorded) = heard(&mut scene, &["old"]).await;
        assert!(recorded.contains("old7"), "{recorded}");
    }
}

#[tokio::test]
async fn a_table_that_is_moved_goes_without_columns_that_are_gone() {
    let outbox = spec("a").outbox().columns(["id", "v"]);
    let specs = [
        outbox.when_changed(["v"]).old_columns(),
        spec("b").key_columns(["v"]),
    ];
    let gone = format!("{SWAP}; ALTER TABLE a DROP COLUMN v; ALTER TABLE b DROP COLUMN v");
    let scene = renamed(&specs, &gone).await;
    assert_eq!(moved(&scene, spec("a")).await, "public.b");
    let left = spec("b").outbox().columns(["id"]).old_columns();
    assert_eq!(scene.drift(&left).await, [""; 0]);
    let scene = renamed(&specs, &gone).await;
    assert_eq!(moved(&scene, spec("b")).await, "public.a");
    assert_eq!(scene.drift(&spec("a")).await, [""; 0]);
    scene
        .run("INSERT INTO a VALUES (1); INSERT INTO b VALUES (1)")
        .await;
}

/// Runs a statement for every function `f` of a table, as `format` puts it together from `parts`.
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
async fn a_plan_is_refused_that_would_take_triggers_off_a_table_of_which_nothing_is_known() {
    let forget = each_function("'COMMENT ON FUNCTION %s IS NULL', f");
    let specs = [spec("a"), spec("b")];
    let scene = renamed(&specs, &format!("{SWAP}; {forget}")).await;
    let before = scene.catalog().await;
    let outcome = trigger::plan(&scene.client, &specs[..1]).await;
    let error = outcome.unwrap_err();
    let said = error.to_string();
    assert!(error.is_config(), "{error:?}");
    for part in [
        "its comment does not tell what it was made for",
        "install on public.b first, or on both at once",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(scene.catalog().await, before);
    // As it says.
    scene.plan(&specs).await.apply(&scene.client).await.unwrap();
    assert_eq!(scene.drift(&spec("a")).await, [""; 0]);
    assert_eq!(scene.drift(&spec("b")).await, [""; 0]);
}

#[tokio::test]
async fn what_a_later_program_or_a_stranger_installed_is_not_replaced_because_it_was_renamed() {
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
async fn what_is_installed_tells_where_its_table_is_now() {
    let scene = renamed(&[spec("a").outbox(), spec("b"), spec("c")], SWAP).await;
    scene.run("DROP TABLE c").await;
    let watched = trigger::watched(&scene.client).await.unwrap();
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
    // As the documentation of `watched` has it.
    let called = watched.iter().filter(|installed| installed.triggers > 0);
    let specs: Vec<_> = called.filter_map(|installed| installed.current()).collect();
    let plan = scene.plan(&specs).await;
    plan.apply(&scene.client).await.unwrap();
    assert_eq!(scene.drift(&spec("b").outbox()).await, [""; 0]);
    assert_eq!(scene.drift(&spec("a")).await, [""; 0]);
}

#[tokio::test]
async fn who_watches_under_the_new_name_is_told_that_nothing_comes_under_it() {
    for mode in [spec("a"), spec("a").outbox()] {
        let scene = renamed(std::slice::from_ref(&mode), "ALTER TABLE a RENAME TO z").await;
        for wish in [spec("z"), spec("z").outbox(), spec("a")] {
            assert!(scene.is_deaf(&wish).await, "{mode:?} {wish:?}");
        }
        let scene = renamed(&[mode.clone(), mode.clone().for_table(table("b"))], SWAP).await;
        for name in ["a", "b"] {
            let wish = mode.clone().for_table(table(name));
            assert!(scene.is_deaf(&wish).await, "{wish:?}");
            let told = scene.drift(&wish).await.concat();
            assert!(told.contains("under another name of the table"), "{told}");
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
        for wish in ["p", "a"] {
            let scene = Scene::new(create).await;
            let specs = [spec("p").outbox(), spec("a").outbox()];
            scene.plan(&specs).await.apply(&scene.client).await.unwrap();
            scene
                .run("ALTER TABLE p RENAME TO x; ALTER TABLE a RENAME TO p; ALTER TABLE x RENAME TO a")
                .await;
            scene.install(spec(wish).outbox()).await;
            assert_eq!(roots(&scene, "p").await, "p", "{create} {wish}");
            assert_eq!(roots(&scene, "a").await, "a", "{create} {wish}");
            assert!(scene.plan(&specs).await.is_empty());
        }
    }
}
