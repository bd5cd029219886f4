//! Scripts for migrations in databases with earlier or damaged installations, and the states that scripts reject.

use pgherald_core::__private::host;
use pgherald_core::Operation;
use pgherald_core::trigger::{self, TriggerSpec, migration_script};

use super::script::{assert_same, installed, versions};
use super::support::{Scene, connect, spec};

const TABLES: &str = "
    CREATE TABLE users (id int PRIMARY KEY, email text, company text, note text);
    CREATE TABLE orders (id int, region int, total numeric, note text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
    CREATE TABLE orders_1 PARTITION OF orders FOR VALUES IN (1);
    CREATE TABLE orders_2 PARTITION OF orders FOR VALUES IN (2);
    CREATE TABLE parent (id int, v int); CREATE TABLE child () INHERITS (parent);";

/// The earlier installation.
fn former() -> [TriggerSpec; 3] {
    [
        spec("users")
            .columns(["company", "note"])
            .when_changed(["note"]),
        spec("orders")
            .outbox()
            .columns(["total"])
            .value_limit(2_000_000),
        spec("parent").outbox().key_columns(["id"]),
    ]
}

fn desired() -> [TriggerSpec; 3] {
    [
        spec("users")
            .columns(["email", "company"])
            .when_changed(["email"])
            .operations(Operation::Insert | Operation::Update),
        spec("orders").outbox().every_column().old_columns(),
        spec("parent")
            .outbox()
            .key_columns(["id"])
            .columns(["v"])
            .when_changed(["v"]),
    ]
}

/// Changes to the earlier installation before the script runs.
const STATES: [&str; 24] = [
    "SELECT",
    "ALTER TABLE users DISABLE TRIGGER pgherald_notify_insert; ALTER TABLE users ENABLE ALWAYS TRIGGER pgherald_notify_update",
    "ALTER TABLE users ENABLE REPLICA TRIGGER pgherald_notify_insert; ALTER TABLE orders DISABLE TRIGGER USER",
    "DROP TRIGGER pgherald_notify_insert ON users; DROP TRIGGER pgherald_notify_truncate ON orders",
    "DO $$ BEGIN EXECUTE (SELECT format('ALTER FUNCTION %s SECURITY INVOKER', tgfoid::regprocedure) FROM pg_trigger
        WHERE tgrelid = 'users'::regclass AND tgname = 'pgherald_notify_insert'); END $$",
    "DO $$ BEGIN EXECUTE (SELECT format('ALTER FUNCTION %s RESET ALL', tgfoid::regprocedure) FROM pg_trigger
        WHERE tgrelid = 'users'::regclass AND tgname = 'pgherald_notify_insert'); END $$",
    "DO $$ BEGIN EXECUTE (SELECT format('COMMENT ON FUNCTION %s IS NULL', tgfoid::regprocedure) FROM pg_trigger
        WHERE tgrelid = 'users'::regclass AND tgname = 'pgherald_notify_insert'); END $$",
    "DO $$ BEGIN EXECUTE (SELECT format('COMMENT ON FUNCTION %s IS ''not JSON''', tgfoid::regprocedure) FROM pg_trigger
        WHERE tgrelid = 'orders'::regclass AND tgname = 'pgherald_notify_insert'); END $$",
    "UPDATE pg_proc SET prosrc = 'BEGIN RETURN NULL; END' WHERE proname ~ '^notify_0'",
    "COMMENT ON FUNCTION pgherald.notify_rows IS NULL",
    "UPDATE pg_proc SET prosrc = 'SELECT' WHERE proname = 'rows_query'",
    "DROP FUNCTION pgherald.rows_query",
    "DELETE FROM pgherald.outbox_part; DELETE FROM pgherald.outbox_retention; DELETE FROM pgherald.outbox_relation",
    "ALTER TABLE users RENAME TO members; CREATE TABLE users (id int PRIMARY KEY, email text, company text, note text)",
    "ALTER TABLE users RENAME TO members; ALTER TABLE members RENAME TO users",
    "DROP TABLE users; CREATE TABLE users (id bigint PRIMARY KEY, email text, company text, note text)",
    "ALTER TABLE users RENAME company TO firm; ALTER TABLE users ADD company text",
    "ALTER TABLE users DROP note, ALTER email TYPE varchar(9), ALTER id TYPE bigint",
    "ALTER TABLE users ADD more int; ALTER TABLE orders ADD more timestamptz; ALTER TABLE parent ADD more int",
    "CREATE TABLE orders_3 PARTITION OF orders FOR VALUES IN (3); CREATE TABLE grandchild () INHERITS (child)",
    "ALTER TABLE orders DETACH PARTITION orders_2; ALTER TABLE child NO INHERIT parent",
    "INSERT INTO pgherald.consumer_group (name, slices) VALUES ('g', 1), ('h', 1);
        INSERT INTO pgherald.consumer_requirement VALUES
        ('g', 'public', 'orders', '{\"schema\":\"public\",\"table\":\"orders\",\"mode\":\"outbox\",\"columns\":[\"note\",\"gone\"],\"replicated\":true}'),
        ('g', 'public', 'parent', '{\"schema\":\"public\",\"table\":\"parent\",\"mode\":\"outbox\",\"key\":[\"id\"],\"columns\":[\"v\"],\"value_limit\":5000000}'),
        ('h', 'public', 'users', '{\"schema\":\"public\",\"table\":\"users\",\"mode\":\"outbox\"}')",
    "CREATE FUNCTION pgherald.notify_00000000ffffffff() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE TRIGGER pgherald_notify_insert_row AFTER INSERT ON users EXECUTE FUNCTION pgherald.notify_00000000ffffffff()",
    "DROP SCHEMA pgherald CASCADE",
];

/// Runs `install` in a transaction that is rolled back. Returns the objects that were installed.
async fn undone(scene: &Scene, install: impl AsyncFn()) -> Vec<String> {
    scene.run("SAVEPOINT before").await;
    install().await;
    let found = installed(scene).await;
    scene.run("ROLLBACK TO before").await;
    found
}

#[tokio::test]
async fn a_script_leads_from_every_state_to_the_result_of_install() {
    let scene = Scene::new(TABLES).await;
    trigger::install(&scene.client, &former()).await.unwrap();
    let script = migration_script(&desired(), false).unwrap();
    for state in STATES {
        println!("{state}");
        scene.run("BEGIN").await;
        scene.run(state).await;
        let install = async || trigger::install(&scene.client, &desired()).await.unwrap();
        let expected = undone(&scene, install).await;
        let run = async || {
            scene.run(&script).await;
            let before = versions(&scene).await;
            scene.run(&script).await;
            assert_eq!(versions(&scene).await, before, "{state}");
            assert!(scene.plan_widened(&desired()).await.is_empty(), "{state}");
        };
        assert_same(&undone(&scene, run).await, &expected);
        scene.run("ROLLBACK").await;
    }
}

#[tokio::test]
async fn a_narrowing_script_leads_to_the_result_of_a_plan() {
    let scene = Scene::new(TABLES).await;
    let former = [
        spec("users")
            .outbox()
            .every_column()
            .old_columns()
            .replicated(),
        spec("orders").columns(["total"]).replicated(),
        spec("parent").outbox().key_columns(["id", "v"]),
    ];
    trigger::install(&scene.client, &former).await.unwrap();
    let script = migration_script(&desired(), true).unwrap();
    let plan = scene.plan(&desired()).await;
    scene.run("BEGIN").await;
    let expected = undone(&scene, async || plan.apply(&scene.client).await.unwrap()).await;
    let found = undone(&scene, async || scene.run(&script).await).await;
    scene.run("ROLLBACK").await;
    assert_same(&found, &expected);
    scene.run(&script).await;
    assert!(scene.plan(&desired()).await.is_empty());
}

async fn refused(scene: &Scene, script: &str) -> String {
    let error = scene.client.batch_execute(script).await.unwrap_err();
    let error = error.as_db_error().unwrap();
    format!("{}: {}", error.message(), error.hint().unwrap_or_default())
}

#[tokio::test]
async fn a_script_that_does_not_fit_the_database_changes_nothing_and_names_the_reason() {
    let scene = Scene::new(TABLES).await;
    scene.run("CREATE VIEW seen AS SELECT * FROM users").await;
    let before = scene.catalog().await;
    let cases = [
        (spec("missing"), "table public.missing does not exist"),
        (
            spec("users").columns(["gone"]),
            "public.users has no column gone",
        ),
        (
            spec("parent").columns(["v"]),
            "public.parent has no primary key",
        ),
        (spec("seen"), "public.seen is not a table"),
    ];
    for (spec, expected) in cases {
        let script = migration_script(&[desired()[1].clone(), spec], false);
        let message = refused(&scene, &script.unwrap()).await;
        assert!(message.contains(expected), "{message}");
        assert_eq!(scene.catalog().await, before);
    }
    scene.install(spec("users")).await;
    for spec in [
        spec("users").outbox(),
        spec("users").key_columns(["email"]),
        spec("users").channel("other".parse().unwrap()),
    ] {
        let script = migration_script(std::slice::from_ref(&spec), false).unwrap();
        let message = refused(&scene, &script).await;
        assert!(
            message.contains("conflict with the present installation"),
            "{message}"
        );
        let script = migration_script(std::slice::from_ref(&spec), true).unwrap();
        scene.run(&format!("BEGIN; {script}")).await;
        assert!(scene.plan(&[spec]).await.is_empty());
        scene.run("ROLLBACK").await;
    }
    scene
        .run(r#"COMMENT ON FUNCTION pgherald.rows_query IS '{"version":99}'"#)
        .await;
    let script = migration_script(&[spec("users")], false).unwrap();
    let message = refused(&scene, &script).await;
    assert!(message.contains("later version"), "{message}");
}

#[test]
fn contradictory_options_are_rejected_when_a_script_is_written() {
    for specs in [
        vec![],
        vec![spec("users"), spec("users")],
        vec![spec("users").old_columns()],
        vec![spec("users").columns(["a", "a"])],
    ] {
        migration_script(&specs, false).unwrap_err();
    }
}

#[test]
fn scripts_for_tables_of_the_same_modes_differ_only_in_their_tables() {
    let tail = |specs: &[TriggerSpec], narrow| {
        let script = migration_script(specs, narrow).unwrap();
        let marker = "    -- The rest is the same in all scripts";
        let (head, tail) = script.split_once(marker).unwrap();
        assert!(head.lines().count() < 20, "{head}");
        // Flyway would replace it.
        assert!(!script.contains("${"));
        let mut lines = script.lines();
        assert!(!lines.any(|line| line == "BEGIN;" || line == "COMMIT;"));
        tail.to_owned()
    };
    let both = tail(&[spec("users"), spec("orders").outbox()], false);
    assert_eq!(tail(&desired(), true), both);
    let one = tail(&[spec("users")], false);
    assert_eq!(
        tail(
            &[spec("orders").old_columns().columns(["a"]).outbox()],
            true
        ),
        tail(&[spec("users").outbox()], false)
    );
    assert!(
        one.lines().count() * 3 < both.lines().count() * 2,
        "{}",
        one.lines().count()
    );
}

#[tokio::test]
async fn a_script_upgrades_the_outbox_of_an_earlier_version_unless_consumers_of_it_run() {
    let scene = Scene::new("CREATE TABLE jobs (id int PRIMARY KEY, value bigint)").await;
    scene.run(include_str!("../versions/1.sql")).await;
    scene.run("INSERT INTO jobs VALUES (1, 1)").await;
    let node = "INSERT INTO pgherald.consumer_group (name, slices) VALUES ('g', 4);
        INSERT INTO pgherald.consumer_node VALUES ('g', 1, 'worker 4711', clock_timestamp() + interval '1 hour')";
    scene.run(node).await;
    let jobs = [spec("jobs").outbox().every_column()];
    let script = migration_script(&jobs, false).unwrap();
    let message = refused(&scene, &script).await;
    assert!(
        message.contains("consumers of version 1 are running: worker 4711"),
        "{message}"
    );
    scene.run("DELETE FROM pgherald.consumer_node").await;
    scene.run(&script).await;
    assert!(scene.plan(&jobs).await.is_empty());
    host::trigger::require_version(&scene.client).await.unwrap();
    let recorded = "SELECT count(*)::text FROM pgherald.outbox_event";
    assert_eq!(scene.value(recorded).await, "1");
}

#[tokio::test]
async fn a_script_runs_under_any_settings_and_restores_them() {
    let scene = Scene::new(TABLES).await;
    let trap = |signature: &str, of: &str| {
        format!(
            "CREATE FUNCTION evil.{signature} RETURNS {of} LANGUAGE plpgsql AS 'BEGIN RAISE ''trap''; END';"
        )
    };
    let traps = [
        trap("replace(text, text, text)", "text"),
        trap("to_regnamespace(text)", "regnamespace"),
        trap("jsonb_agg(jsonb)", "jsonb"),
        trap("set_config(text, text, boolean)", "text"),
        trap("equal(text, text)", "boolean"),
        "CREATE OPERATOR evil.= (FUNCTION = evil.equal, LEFTARG = text, RIGHTARG = text);"
            .to_owned(),
        "CREATE DOMAIN evil.text AS int;".to_owned(),
    ];
    scene
        .run(&format!("CREATE SCHEMA evil; {}", traps.concat()))
        .await;
    let script = migration_script(&desired(), false).unwrap();
    let show =
        "SELECT concat_ws(' ', current_setting('search_path'), current_setting('lock_timeout'))";
    scene
        .run("SET standard_conforming_strings = off; SET search_path = evil, pg_catalog; SET lock_timeout = '7s'")
        .await;
    scene.run(&format!("BEGIN; {script}")).await;
    let found = scene
        .value(&show.replace("concat_ws", "pg_catalog.concat_ws"))
        .await;
    assert_eq!(found, "evil, pg_catalog 7s");
    scene.run("COMMIT; RESET ALL").await;
    assert!(scene.plan(&desired()).await.is_empty());
}

#[tokio::test]
async fn a_script_waits_for_writers_and_for_other_scripts() {
    let scene = Scene::new(TABLES).await;
    let writer = connect(&scene.url).await;
    writer
        .batch_execute("BEGIN; INSERT INTO users VALUES (1)")
        .await
        .unwrap();
    let script = migration_script(&desired(), false).unwrap();
    let run = |script: String| {
        let url = scene.url.clone();
        tokio::spawn(async move { connect(&url).await.batch_execute(&script).await })
    };
    let scripts = [run(script.clone()), run(script)];
    // One script has released its locks and will retry.
    let sleeping = "SELECT (count(*) > 0)::text FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()";
    scene.until(sleeping, "true").await;
    writer.batch_execute("COMMIT").await.unwrap();
    for script in scripts {
        script.await.unwrap().unwrap();
    }
    assert!(scene.plan(&desired()).await.is_empty());
}
