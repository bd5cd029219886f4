//! Partitioned tables are announced under the parent's name, for writes to the parent and to partitions.

use pgherald_core::trigger;

use super::support::{Scene, event, spec, table};

const EVENTS: &str = "CREATE TABLE events (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
    CREATE TABLE low PARTITION OF events FOR VALUES FROM (0) TO (100);
    CREATE TABLE high (v int, junk int, id int NOT NULL) PARTITION BY LIST (id);
    ALTER TABLE high DROP junk;
    ALTER TABLE events ATTACH PARTITION high FOR VALUES FROM (100) TO (200);
    CREATE TABLE highest PARTITION OF high FOR VALUES IN (199)";

fn keyed(operation: &str, keys: &str) -> String {
    event(
        operation,
        "events",
        &format!(r#","key":["id"],"keys":{keys}"#),
    )
}

#[tokio::test]
async fn a_write_to_the_parent_is_one_event() {
    let mut scene = Scene::new(EVENTS).await;
    scene.install(spec("events")).await;
    assert_eq!(
        scene.shapes("INSERT INTO events VALUES (1), (199)").await,
        [keyed("insert", "[1,199]")]
    );
    assert_eq!(
        scene.shapes("UPDATE events SET v = 1").await,
        [keyed("update", "[1,199]")]
    );
    let moved = "UPDATE events SET id = 2 WHERE id = 199";
    assert_eq!(scene.shapes(moved).await, [keyed("update", "[2,199]")]);
    assert_eq!(
        scene.shapes("DELETE FROM events").await,
        [keyed("delete", "[1,2]")]
    );
    // TRUNCATE is the only statement that fires the triggers of the parent and of each partition: one event each.
    let mut truncates = scene.shapes("TRUNCATE events").await;
    assert_eq!(truncates.len(), 4);
    truncates.dedup();
    assert_eq!(truncates, [event("truncate", "events", "")]);
}

#[tokio::test]
async fn a_write_straight_into_a_partition_is_an_event_of_the_parent() {
    let mut scene = Scene::new(EVENTS).await;
    scene.install(spec("events").columns(["v"])).await;
    for (partition, id) in [("low", 1), ("high", 199), ("highest", 199)] {
        let shapes = scene
            .shapes(&format!("INSERT INTO {partition} (id, v) VALUES ({id}, 5)"))
            .await;
        let expected = format!(r#","key":["id"],"keys":[{id}],"columns":[{{"v":5}}]"#);
        assert_eq!(shapes, [event("insert", "events", &expected)]);
        let mut shapes = scene
            .shapes(&format!("DELETE FROM {partition}; TRUNCATE {partition}"))
            .await;
        shapes.dedup();
        assert_eq!(
            shapes,
            [
                event("delete", "events", &expected),
                event("truncate", "events", "")
            ]
        );
    }
}

#[tokio::test]
async fn a_partition_created_later_is_drift_until_installed() {
    let mut scene = Scene::new(EVENTS).await;
    let spec = spec("events");
    scene.install(spec.clone()).await;
    scene
        .run("CREATE TABLE later PARTITION OF events FOR VALUES FROM (200) TO (300)")
        .await;
    assert_eq!(
        scene.shapes("INSERT INTO later VALUES (201)").await,
        [""; 0]
    );
    let drift = scene.drift(&spec).await;
    assert_eq!(drift.len(), 4);
    assert!(
        drift[0].starts_with("public.events: trigger pgherald_notify_insert_"),
        "{drift:?}"
    );
    assert!(
        drift[0].ends_with(" is missing on public.later; install the triggers"),
        "{drift:?}"
    );
    let plan = scene.plan(std::slice::from_ref(&spec)).await;
    assert!(!plan.sql().contains("CREATE OR REPLACE FUNCTION"), "{plan}");
    plan.apply(&scene.client).await.unwrap();
    assert_eq!(
        scene.shapes("INSERT INTO later VALUES (202)").await,
        [keyed("insert", "[202]")]
    );
    assert_eq!(scene.drift(&spec).await, [""; 0]);
}

#[tokio::test]
async fn a_detached_partition_is_drift_until_its_triggers_are_removed() {
    let mut scene = Scene::new(EVENTS).await;
    let spec = spec("events");
    scene.install(spec.clone()).await;
    scene.run("ALTER TABLE events DETACH PARTITION low").await;
    let drift = scene.drift(&spec).await;
    assert_eq!(drift.len(), 4);
    assert!(drift[0].contains("on public.low is left over"), "{drift:?}");
    scene.install(spec.clone()).await;
    assert_eq!(scene.drift(&spec).await, [""; 0]);
    assert_eq!(scene.shapes("INSERT INTO low VALUES (1)").await, [""; 0]);
}

#[tokio::test]
async fn parent_and_partition_may_both_be_watched() {
    let mut scene = Scene::new(EVENTS).await;
    scene
        .plan(&[spec("events"), spec("low")])
        .await
        .apply(&scene.client)
        .await
        .unwrap();
    assert!(scene.plan(&[spec("events"), spec("low")]).await.is_empty());
    let mut shapes = scene.shapes("INSERT INTO low VALUES (1)").await;
    shapes.sort();
    let own = event("insert", "low", r#","key":["id"],"keys":[1]"#);
    assert_eq!(shapes, [keyed("insert", "[1]"), own.clone()]);
    let plan = trigger::plan_uninstall(&scene.client, &[table("events")])
        .await
        .unwrap();
    plan.apply(&scene.client).await.unwrap();
    let shapes = scene.shapes("DELETE FROM low").await;
    assert_eq!(shapes, [own.replace("insert", "delete")]);
}

#[tokio::test]
async fn inheritance_children_are_watched() {
    let sql = "CREATE TABLE events (id int PRIMARY KEY); CREATE TABLE child () INHERITS (events)";
    let mut scene = Scene::new(sql).await;
    scene.install(spec("events")).await;
    assert_eq!(
        scene.shapes("INSERT INTO child VALUES (1)").await,
        [keyed("insert", "[1]")]
    );
    assert_eq!(
        scene.shapes("DELETE FROM events").await,
        [keyed("delete", "[1]")]
    );
}
