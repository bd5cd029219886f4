//! Tables whose names have gone to others, and what others have installed.

use serde_json::Value;

use super::{all_is_well, fix, found_and_fixed, installed, only, wrong};
use crate::support::Scene;

fn fixes(findings: &[Value]) -> Vec<&str> {
    findings
        .iter()
        .map(|one| one["fix"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_view_in_the_place_of_a_table_that_was_renamed_is_left_alone() {
    let scene = installed("outbox").await;
    scene
        .run("ALTER TABLE users RENAME TO people; CREATE VIEW users AS SELECT * FROM people")
        .await;
    let part = "public.users is now public.people";
    let found = found_and_fixed(&scene, &[], "triggers", "failed", part).await;
    let expected = "pgherald install '\"public\".\"people\"' --mode outbox --commit";
    assert_eq!(fixes(&found), [expected]);
}

#[tokio::test]
async fn tables_that_swapped_names_keep_their_modes() {
    let scene =
        Scene::new("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)")
            .await;
    scene
        .fine(&["install", "a", "--mode", "outbox", "--commit"])
        .await;
    scene.fine(&["install", "b", "--commit"]).await;
    let swap = "ALTER TABLE a RENAME TO c; ALTER TABLE b RENAME TO a; ALTER TABLE c RENAME TO b";
    scene.run(swap).await;
    let found = only(&scene, &[], "triggers", "failed", " is now ").await;
    let mut said = fixes(&found);
    said.sort_unstable();
    let expected = [
        "pgherald install '\"public\".\"a\"' --mode notify --commit",
        "pgherald install '\"public\".\"b\"' --mode outbox --commit",
    ];
    assert_eq!(said, expected);
    fix(&scene, &found).await;
    all_is_well(&scene, &[]).await;
    scene
        .run("INSERT INTO b VALUES (1); INSERT INTO a VALUES (2)")
        .await;
    let recorded = "SELECT string_agg(table_name || key, ',') FROM pgherald.outbox_event";
    assert_eq!(scene.value(recorded).await, "b1");
}

#[tokio::test]
async fn a_table_made_anew_under_the_name_gets_the_triggers() {
    let scene = installed("notify").await;
    scene
        .run("ALTER TABLE users RENAME TO old; CREATE TABLE users (LIKE old INCLUDING ALL)")
        .await;
    let found = wrong(&scene, &[]).await;
    assert!(
        fixes(&found)
            .iter()
            .all(|fix| *fix == "pgherald upgrade --commit"),
        "{found:#?}"
    );
    fix(&scene, &found[..1]).await;
    all_is_well(&scene, &[]).await;
}

#[tokio::test]
async fn what_a_dropped_table_left_is_told_from_a_table_of_the_same_look() {
    let scene = Scene::new("CREATE SCHEMA a; CREATE TABLE a.b (id int PRIMARY KEY); CREATE TABLE \"a.b\" (id int PRIMARY KEY)").await;
    scene
        .fine(&["install", "\"a\".\"b\"", "--mode", "outbox", "--commit"])
        .await;
    scene
        .fine(&[
            "install",
            "\"public\".\"a.b\"",
            "--mode",
            "outbox",
            "--commit",
        ])
        .await;
    scene.run("DROP TABLE a.b").await;
    let part = "a.b does not exist any more";
    let found = found_and_fixed(&scene, &[], "triggers", "failed", part).await;
    assert_eq!(fixes(&found), ["pgherald uninstall '\"a\".\"b\"' --commit"]);
    let left = "SELECT count(*)::text FROM pg_trigger WHERE tgrelid = 'public.\"a.b\"'::regclass";
    assert_eq!(scene.value(left).await, "4");
}

#[tokio::test]
async fn what_an_upgrade_does_not_help_is_not_to_be_upgraded() {
    let later = "DO $$ BEGIN EXECUTE (SELECT format('COMMENT ON FUNCTION %s IS %L', p.oid::regprocedure,
            replace(obj_description(p.oid, 'pg_proc'), '\"version\":1', '\"version\":1000'))
        FROM pg_proc AS p JOIN pg_trigger AS t ON t.tgfoid = p.oid WHERE t.tgrelid = 'users'::regclass LIMIT 1); END $$";
    let scene = installed("notify").await;
    scene.run(later).await;
    let found = only(
        &scene,
        &[],
        "triggers",
        "warning",
        "version 1000 is installed, this program has",
    )
    .await;
    let fix = fixes(&found)[0];
    assert!(fix.ends_with("; upgrade this program"), "{fix}");
    let text = found[0]["finding"].as_str().unwrap();
    assert!(!text.contains("install the triggers"), "{text}");

    let scene = installed("notify").await;
    let role = scene
        .value("SELECT 'stranger_' || oid FROM pg_database WHERE datname = current_database()")
        .await;
    scene
        .run(&format!("CREATE ROLE {role}; ALTER TABLE users DISABLE TRIGGER pgherald_notify_insert;
            DO $$ BEGIN EXECUTE (SELECT format('ALTER FUNCTION %s OWNER TO {role}', t.tgfoid::regprocedure)
                FROM pg_trigger AS t WHERE t.tgrelid = 'users'::regclass LIMIT 1); END $$"))
        .await;
    let found = wrong(&scene, &[]).await;
    let triggers: Vec<_> = found
        .iter()
        .filter(|one| one["check"] == "triggers")
        .cloned()
        .collect();
    assert!(!triggers.is_empty());
    for fix in fixes(&triggers) {
        assert!(fix.contains(&format!("install as {role}")), "{fix}");
    }
}
