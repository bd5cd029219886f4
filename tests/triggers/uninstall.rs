//! Uninstalling restores the state of the database before the installation.

use pgherald_core::{TableName, trigger};

use super::support::{Scene, spec, table};

const TABLES: &str = "CREATE TABLE users (id int PRIMARY KEY, email text);
    CREATE TABLE events (id int PRIMARY KEY) PARTITION BY RANGE (id);
    CREATE TABLE low PARTITION OF events FOR VALUES FROM (0) TO (100);
    CREATE FUNCTION mine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE TRIGGER pgherald_mine AFTER INSERT ON users EXECUTE FUNCTION mine()";

async fn uninstall(scene: &Scene, tables: &[TableName]) {
    let plan = trigger::plan_uninstall(&scene.client, tables)
        .await
        .unwrap();
    plan.apply(&scene.client).await.unwrap();
}

async fn uninstall_all(scene: &Scene) {
    let plan = trigger::plan_uninstall_all(&scene.client).await.unwrap();
    plan.apply(&scene.client).await.unwrap();
    assert!(
        trigger::plan_uninstall_all(&scene.client)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn uninstalling_the_last_table_removes_everything() {
    let scene = Scene::new(TABLES).await;
    let before = scene.catalog().await;
    scene
        .plan(&[spec("users"), spec("events")])
        .await
        .apply(&scene.client)
        .await
        .unwrap();
    uninstall(&scene, &[table("events")]).await;
    assert_eq!(scene.drift(&spec("users")).await, [""; 0]);
    uninstall(&scene, &[table("users")]).await;
    assert_eq!(scene.catalog().await, before);
    let plan = trigger::plan_uninstall(&scene.client, &[table("users"), table("never")]).await;
    assert!(plan.unwrap().is_empty());
}

#[tokio::test]
async fn plan_uninstall_all_removes_all_tables() {
    let scene = Scene::new(TABLES).await;
    let before = scene.catalog().await;
    scene
        .plan(&[spec("users"), spec("events")])
        .await
        .apply(&scene.client)
        .await
        .unwrap();
    assert_ne!(scene.catalog().await, before);
    uninstall_all(&scene).await;
    assert_eq!(scene.catalog().await, before);
}

#[tokio::test]
async fn functions_of_dropped_tables_are_removed() {
    let scene = Scene::new("").await;
    let before = scene.catalog().await;
    for by_name in [true, false] {
        scene.run(TABLES).await;
        scene.install(spec("users")).await;
        scene
            .run("DROP TABLE users, events; DROP FUNCTION mine")
            .await;
        assert_ne!(scene.catalog().await, before);
        match by_name {
            true => uninstall(&scene, &[table("users")]).await,
            false => uninstall_all(&scene).await,
        }
        assert_eq!(scene.catalog().await, before);
    }
}

#[tokio::test]
async fn a_renamed_table_is_uninstalled_under_its_current_name_only() {
    let scene = Scene::new(TABLES).await;
    scene.run("ALTER TABLE users RENAME TO people").await;
    let before = scene.catalog().await;
    scene.run("ALTER TABLE people RENAME TO users").await;
    scene.install(spec("users")).await;
    scene.run("ALTER TABLE users RENAME TO people").await;
    let installed = scene.catalog().await;
    uninstall(&scene, &[table("users")]).await;
    assert_eq!(scene.catalog().await, installed);
    uninstall(&scene, &[table("people")]).await;
    assert_eq!(scene.catalog().await, before);
}

#[tokio::test]
async fn a_schema_with_other_objects_is_kept() {
    let scene = Scene::new(TABLES).await;
    scene.install(spec("users")).await;
    scene.run("CREATE TABLE pgherald.theirs (id int)").await;
    uninstall_all(&scene).await;
    scene.run("INSERT INTO pgherald.theirs VALUES (1)").await;
}

#[tokio::test]
async fn a_schema_that_pgherald_did_not_create_is_kept() {
    let scene = Scene::new(TABLES).await;
    scene.run("CREATE SCHEMA pgherald").await;
    let before = scene.catalog().await;
    scene.install(spec("users")).await;
    uninstall_all(&scene).await;
    assert_eq!(scene.catalog().await, before);
}

#[tokio::test]
async fn a_table_installed_meanwhile_keeps_its_objects() {
    let scene = Scene::new(TABLES).await;
    scene.install(spec("users")).await;
    let plan = trigger::plan_uninstall(&scene.client, &[table("users")])
        .await
        .unwrap();
    scene.install(spec("events")).await;
    plan.apply(&scene.client).await.unwrap();
    assert_eq!(scene.drift(&spec("events")).await, [""; 0]);
    scene.run("INSERT INTO events VALUES (1)").await;
}
