//! `pgherald upgrade` of an earlier version. `tests/durable/migrations.rs` tests what happens to its events.

use super::support::Scene;

const NODE: &str = "INSERT INTO pgherald.consumer_group (name, slices) VALUES ('mail', 4);
    INSERT INTO pgherald.consumer_node VALUES ('mail', 1, 'worker 4711', clock_timestamp() + interval '1 hour')";

async fn of_version_1() -> Scene {
    let scene = Scene::new("CREATE TABLE jobs (id int PRIMARY KEY, value bigint)").await;
    scene
        .run(include_str!("../../../../tests/versions/1.sql"))
        .await;
    scene
}

#[tokio::test]
async fn earlier_version_is_reported_and_upgraded() {
    let scene = of_version_1().await;
    let upgrade = "pgherald upgrade --commit";
    scene.run(NODE).await;
    for command in [
        &["install", "jobs", "--mode", "outbox"][..],
        &["dead-letters", "list"],
        &["group", "pause", "mail"],
        &["doctor"],
    ] {
        let ran = scene.pgherald(command).await;
        let printed = format!("{}{}", ran.stdout, ran.stderr);
        assert!(
            ran.code != 0
                && printed.contains("version 1 is installed")
                && printed.contains(upgrade),
            "{command:?}: {ran:?}"
        );
    }
    let before = scene.dump().await;
    let shown = scene.fine(&["upgrade"]).await;
    assert!(
        shown.contains("ADD COLUMN lease") && shown.contains("-- Nothing was changed."),
        "{shown}"
    );
    assert_eq!(scene.dump().await, before);

    let ran = scene.pgherald(&["upgrade", "--commit"]).await;
    assert!(
        ran.code == 1 && ran.stderr.contains("worker 4711 of group mail"),
        "{ran:?}"
    );
    scene.run("DELETE FROM pgherald.consumer_group").await;
    let printed = scene.fine(&["upgrade", "--commit"]).await;
    assert_eq!(
        printed,
        "The outbox now has version 2 (history and requirements).\nEverything is up to date.\n"
    );
    scene.fine(&["doctor"]).await;
    let printed = scene.fine(&["upgrade", "--commit"]).await;
    assert_eq!(printed, "Nothing to do: everything is as it should be.\n");
    scene.fine(&["uninstall", "--all", "--commit"]).await;
    let left = "SELECT count(*)::text FROM pg_namespace WHERE nspname = 'pgherald'";
    assert_eq!(scene.value(left).await, "0");
}

#[tokio::test]
async fn upgrade_prints_one_json_object() {
    let scene = of_version_1().await;
    let objects = scene.json(&["upgrade"]).await;
    assert_eq!(
        (objects.len(), &objects[0]["committed"]),
        (1, &false.into())
    );
    let objects = scene.json(&["upgrade", "--commit"]).await;
    assert_eq!((objects.len(), &objects[0]["committed"]), (1, &true.into()));
    let notes = objects[0]["notes"].to_string();
    assert!(notes.contains("version 2"), "{notes}");
}
