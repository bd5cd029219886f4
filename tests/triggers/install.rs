//! Plans change nothing until they are applied, are applied completely or not at all, and are safe to repeat.

use pgherald_core::trigger::{self, Plan, TriggerSpec};
use pgherald_core::{ChannelName, Operation};

use super::support::{Listener, Scene, connect, event, spec};

const USERS: &str = "CREATE TABLE users (id int PRIMARY KEY, email text)";

async fn plan_again(scene: &Scene, spec: &TriggerSpec) -> Plan {
    scene.plan(std::slice::from_ref(spec)).await
}

#[tokio::test]
async fn a_plan_changes_nothing_until_it_is_applied() {
    let scene = Scene::new(USERS).await;
    let before = scene.catalog().await;
    let plan = plan_again(&scene, &spec("users")).await;
    assert!(!plan.is_empty());
    assert_eq!(plan.to_string(), plan.sql());
    trigger::verify(&scene.client, &[spec("users")])
        .await
        .unwrap();
    assert_eq!(scene.catalog().await, before);
}

#[tokio::test]
async fn a_plan_is_a_script_for_other_tools() {
    let mut scene = Scene::new(USERS).await;
    let plan = plan_again(&scene, &spec("users")).await;
    assert!(
        plan.sql().starts_with("BEGIN;\n") && plan.sql().ends_with("COMMIT;\n"),
        "{plan}"
    );
    scene.run(&plan.sql()).await;
    assert!(plan_again(&scene, &spec("users")).await.is_empty());
    assert_eq!(
        scene.announced("INSERT INTO users VALUES (1)").await.len(),
        1
    );
}

#[tokio::test]
async fn a_plan_after_an_installation_is_empty() {
    let scene = Scene::new(USERS).await;
    let spec = spec("users").columns(["email"]).when_changed(["email"]);
    scene.install(spec.clone()).await;
    let before = scene.catalog().await;
    let plan = plan_again(&scene, &spec).await;
    assert!(plan.is_empty() && plan.sql().is_empty(), "{plan}");
    plan.apply(&scene.client).await.unwrap();
    assert_eq!(scene.catalog().await, before);
    assert_eq!(scene.drift(&spec).await, [""; 0]);
}

#[tokio::test]
async fn planning_leaves_no_state_in_the_session() {
    let scene = Scene::new(USERS).await;
    scene.install(spec("users")).await;
    scene.drift(&spec("users")).await;
    let session = "SELECT (count(*) = 1)::text FROM pg_prepared_statements";
    assert_eq!(
        scene.value(session).await,
        "true",
        "only this query is prepared"
    );
    assert_eq!(
        scene
            .value("SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
            .await,
        "0"
    );
}

#[tokio::test]
async fn a_changed_specification_changes_only_what_differs() {
    let mut scene = Scene::new(USERS).await;
    scene.install(spec("users")).await;

    let narrower = spec("users").operations(Operation::Insert | Operation::Delete);
    let plan = plan_again(&scene, &narrower).await;
    let is_made = |what: &str| plan.sql().contains(what);
    assert!(
        !is_made("CREATE OR REPLACE") && !is_made("CREATE TRIGGER"),
        "{plan}"
    );
    plan.apply(&scene.client).await.unwrap();
    let sql = "INSERT INTO users VALUES (1); UPDATE users SET email = ''; TRUNCATE users";
    assert_eq!(scene.announced(sql).await.len(), 1);

    let elsewhere = narrower
        .channel(ChannelName::new("elsewhere").unwrap())
        .columns(["email"]);
    let plan = plan_again(&scene, &elsewhere).await;
    assert!(!plan.sql().contains("TRIGGER"), "{plan}");
    plan.apply(&scene.client).await.unwrap();
    let mut listener = Listener::on(&scene.url, "elsewhere").await;
    assert_eq!(
        scene.announced("INSERT INTO users VALUES (1)").await.len(),
        0
    );
    assert!(listener.heard(&scene.client).await[0].contains("email"));
    assert!(plan_again(&scene, &elsewhere).await.is_empty());
}

#[tokio::test]
async fn an_older_version_is_upgraded_in_place() {
    let mut scene = Scene::new(USERS).await;
    scene.install(spec("users")).await;
    scene.run(
        "DO $$
         DECLARE f record;
         BEGIN
            FOR f IN SELECT oid::regprocedure AS id, oid, prorettype = 'trigger'::regtype AS own FROM pg_proc
                WHERE pronamespace = 'pgherald'::regnamespace
            LOOP
                EXECUTE format('COMMENT ON FUNCTION %s IS %L', f.id,
                    replace(obj_description(f.oid), '\"version\":2', '\"version\":0'));
                IF f.own THEN
                    EXECUTE format('CREATE OR REPLACE FUNCTION %s RETURNS trigger LANGUAGE plpgsql
                        AS ''BEGIN RETURN NULL; END''', f.id);
                END IF;
            END LOOP;
         END $$",
    )
    .await;
    assert_eq!(
        scene.announced("INSERT INTO users VALUES (1)").await.len(),
        0
    );
    let drift = scene.drift(&spec("users")).await;
    assert_eq!(drift.len(), 2, "{drift:?}");
    assert!(
        drift[1].contains("version 0 is installed, this program has version 2"),
        "{drift:?}"
    );
    scene.install(spec("users")).await;
    assert_eq!(scene.drift(&spec("users")).await, [""; 0]);
    assert_eq!(
        scene.announced("INSERT INTO users VALUES (2)").await.len(),
        1
    );
}

#[tokio::test]
async fn a_newer_version_is_not_replaced() {
    let scene = Scene::new(USERS).await;
    scene.install(spec("users")).await;
    scene
        .run("COMMENT ON FUNCTION pgherald.notify_rows IS '{\"version\":3}'")
        .await;
    let error = trigger::plan(&scene.client, &[spec("users")])
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("upgrade this program"),
        "{error}"
    );
}

#[tokio::test]
async fn a_table_that_was_created_again_is_watched_again() {
    let mut scene = Scene::new(USERS).await;
    scene.install(spec("users")).await;
    scene.run("DROP TABLE users").await;
    scene
        .run("CREATE TABLE users (email text, id text PRIMARY KEY)")
        .await;
    scene.install(spec("users")).await;
    assert!(plan_again(&scene, &spec("users")).await.is_empty());
    let shapes = scene.shapes("INSERT INTO users VALUES ('', 'x')").await;
    assert_eq!(
        shapes,
        [event("insert", "users", r#","key":["id"],"keys":["x"]"#)]
    );
}

#[tokio::test]
async fn concurrent_installations_succeed() {
    let scene = Scene::new(USERS).await;
    scene.run("CREATE TABLE posts (id int PRIMARY KEY)").await;
    let plans = [
        plan_again(&scene, &spec("users")).await,
        scene.plan(&[spec("users"), spec("posts")]).await,
    ];
    let mut installers = Vec::new();
    for round in 0..8 {
        let (client, plan) = (connect(&scene.url).await, plans[round % 2].clone());
        installers.push(tokio::spawn(async move { plan.apply(&client).await }));
    }
    for installer in installers {
        installer.await.unwrap().unwrap();
    }
    assert!(scene.plan(&[spec("users"), spec("posts")]).await.is_empty());
}

#[tokio::test]
async fn an_installer_waits_for_a_concurrent_one() {
    let scene = Scene::new(USERS).await;
    let plan = plan_again(&scene, &spec("users")).await;
    scene.run("BEGIN").await;
    plan.apply(&scene.client).await.unwrap();
    let second = connect(&scene.url).await;
    let second = tokio::spawn(async move { plan.apply(&second).await });
    let waiting = "SELECT count(*)::text FROM pg_stat_activity
        WHERE datname = current_database() AND (wait_event_type, wait_event) = ('Lock', 'transactionid')";
    let observer = connect(&scene.url).await;
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let row = observer.query_one(waiting, &[]).await.unwrap();
        if row.get::<_, &str>(0) == "1" {
            break;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "the installer does not wait"
        );
    }
    scene.run("COMMIT").await;
    second.await.unwrap().unwrap();
    assert!(plan_again(&scene, &spec("users")).await.is_empty());
}

#[tokio::test]
async fn a_plan_that_fails_midway_changes_nothing() {
    let scene = Scene::new(USERS).await;
    scene.run("CREATE TABLE posts (id int PRIMARY KEY)").await;
    let plan = scene.plan(&[spec("users"), spec("posts")]).await;
    scene.run("DROP TABLE posts").await;
    let before = scene.catalog().await;
    let error = plan.apply(&scene.client).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot change the triggers; nothing was changed"
    );
    assert!(error.chain().contains("posts"), "{}", error.chain());
    assert_eq!(scene.catalog().await, before);
    scene.run("INSERT INTO users VALUES (1)").await;
}

#[tokio::test]
async fn a_plan_that_precedes_an_uninstall_is_rejected() {
    let scene = Scene::new(USERS).await;
    // The uninstall keeps a schema that it did not create, so the schema's presence does not show that the rest is gone.
    scene
        .run("CREATE SCHEMA pgherald; CREATE TABLE posts (id int PRIMARY KEY)")
        .await;
    scene.install(spec("users")).await;
    let plan = scene.plan(&[spec("posts")]).await;
    let uninstall = trigger::plan_uninstall_all(&scene.client).await.unwrap();
    uninstall.apply(&scene.client).await.unwrap();
    assert!(plan.apply(&scene.client).await.is_err());
    scene.run("INSERT INTO posts VALUES (1)").await;
}

#[tokio::test]
async fn a_plan_joins_an_open_transaction() {
    let scene = Scene::new(USERS).await;
    let before = scene.catalog().await;
    scene.run("BEGIN").await;
    scene.install(spec("users")).await;
    scene.run("ROLLBACK").await;
    assert_eq!(scene.catalog().await, before);
}

#[tokio::test]
async fn the_installer_fails_in_a_deadlock_with_a_writer() {
    let scene = Scene::new(USERS).await;
    scene.run("CREATE TABLE posts (id int PRIMARY KEY)").await;
    let plan = scene.plan(&[spec("users"), spec("posts")]).await;
    let writer = connect(&scene.url).await;
    writer
        .batch_execute("BEGIN; INSERT INTO posts VALUES (1)")
        .await
        .unwrap();
    let client = connect(&scene.url).await;
    let installer = tokio::spawn(async move { plan.apply(&client).await });
    // The installer has locked users and waits for posts.
    let sql =
        "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'posts'::regclass)";
    let waits = async {
        while !scene
            .client
            .query_one(sql, &[])
            .await
            .unwrap()
            .get::<_, bool>(0)
        {
            tokio::task::yield_now().await;
        }
    };
    let deadline = std::time::Duration::from_secs(60);
    tokio::time::timeout(deadline, waits)
        .await
        .expect("the installer waits for posts");
    writer
        .batch_execute("INSERT INTO users VALUES (1); COMMIT")
        .await
        .unwrap();
    installer.await.unwrap().unwrap();
    assert!(scene.plan(&[spec("users"), spec("posts")]).await.is_empty());
}

#[tokio::test]
async fn tables_in_use_are_a_retryable_error() {
    let scene = Scene::new(USERS).await;
    let plan = plan_again(&scene, &spec("users")).await;
    let writer = connect(&scene.url).await;
    writer
        .batch_execute("BEGIN; INSERT INTO users VALUES (1)")
        .await
        .unwrap();
    scene.run("BEGIN").await;
    let error = plan.apply(&scene.client).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    assert!(error.to_string().contains("try again later"), "{error}");
    scene.run("ROLLBACK").await;
}

#[tokio::test]
async fn installing_restores_the_sessions_settings() {
    let scene = Scene::new(USERS).await;
    let path = "SELECT current_setting('search_path')";
    for before in ["0", "7s"] {
        scene.run(&format!("SET lock_timeout = '{before}'")).await;
        scene.run("BEGIN").await;
        plan_again(&scene, &spec("users").columns(["email"]))
            .await
            .apply(&scene.client)
            .await
            .unwrap();
        assert_eq!(
            scene.value("SELECT current_setting('lock_timeout')").await,
            before
        );
        assert_eq!(scene.value(path).await, "\"$user\", public");
        scene.run("ROLLBACK").await;
        scene.install(spec("users")).await;
        assert_eq!(
            scene.value("SELECT current_setting('lock_timeout')").await,
            before
        );
    }
}

#[tokio::test]
async fn programs_that_install_at_the_same_time_do_not_narrow_each_others_triggers() {
    let sql = "CREATE TABLE users (id int PRIMARY KEY, a int, b int, c int, d int)";
    let scene = Scene::new(sql).await;
    let wishes = ["a", "b", "c", "d"].map(|column| spec("users").columns([column]));
    // Two plans for the same state: only the first one can be applied.
    let (one, other) = (
        plan_again(&scene, &wishes[0]).await,
        plan_again(&scene, &wishes[1]).await,
    );
    one.apply(&scene.client).await.unwrap();
    let error = other.apply(&scene.client).await.unwrap_err();
    assert!(error.chain().contains("plan again"), "{}", error.chain());
    assert_eq!(scene.drift(&wishes[0]).await, [""; 0]);
    // Applying the first one again is fine.
    one.apply(&scene.client).await.unwrap();
    let mut installers = Vec::new();
    for wish in wishes.clone() {
        let client = connect(&scene.url).await;
        installers.push(tokio::spawn(async move {
            trigger::install(&client, &[wish]).await
        }));
    }
    for installer in installers {
        installer.await.unwrap().unwrap();
    }
    for wish in &wishes {
        assert_eq!(scene.drift(wish).await, [""; 0]);
    }
}
