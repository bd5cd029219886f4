//! The text of values: one for each value, whatever the session, and none that is wrong.

use pgherald_core::trigger::{self, TriggerSpec};

use super::support::{Scene, connect, event, spec, table};

#[tokio::test]
async fn nulls_in_children_that_allow_them_are_recorded_and_announced() {
    let mut scene = Scene::new("").await;
    let version = scene.value("SHOW server_version_num").await;
    let keeps_not_null = version.parse::<i32>().unwrap() >= 180_000;
    let create = match keeps_not_null {
        // What a child may drop.
        false => {
            "CREATE TABLE base (id bigint PRIMARY KEY, age int NOT NULL, small smallint NOT NULL);
            CREATE TABLE child () INHERITS (base);
            ALTER TABLE child ALTER age DROP NOT NULL, ALTER small DROP NOT NULL, ALTER id DROP NOT NULL"
        }
        // Since 18 a child keeps what its parent demands, but the parent may demand it of itself alone.
        true => {
            "CREATE TABLE base (id bigint NOT NULL NO INHERIT, age int NOT NULL NO INHERIT, small smallint NOT NULL NO INHERIT);
            CREATE TABLE child () INHERITS (base)"
        }
    };
    scene.run(create).await;
    let columns = || spec("base").key_columns(["id"]).columns(["age", "small"]);
    scene.install(columns().outbox()).await;
    scene.run("INSERT INTO child VALUES (1, NULL, 2)").await;
    let last = "SELECT concat_ws(' ', operation, key, columns) FROM pgherald.outbox ORDER BY id DESC LIMIT 1";
    assert_eq!(scene.value(last).await, r#"I 1 {"age":null,"small":2}"#);
    // Nor is its key one that forbids null, and the root may allow it later.
    scene.run("UPDATE child SET id = NULL").await;
    let both = "SELECT string_agg(concat_ws(' ', operation, key), ',' ORDER BY key)
        FROM pgherald.outbox WHERE operation = 'U'";
    assert_eq!(scene.value(both).await, "U 1,U null");
    scene
        .run("ALTER TABLE base ALTER small DROP NOT NULL; INSERT INTO base VALUES (2, 3, NULL)")
        .await;
    assert_eq!(scene.value(last).await, r#"I 2 {"age":3,"small":null}"#);
    scene.install(columns()).await;
    let shapes = scene
        .shapes("INSERT INTO child VALUES (NULL, NULL, 2)")
        .await;
    let rest = r#","key":["id"],"keys":[null],"columns":[{"age":null,"small":2}]"#;
    assert_eq!(shapes, [event("insert", "base", rest)]);
}

#[tokio::test]
async fn rows_of_children_that_share_a_key_are_recorded_once_each() {
    let sql = "CREATE TABLE base (id bigint PRIMARY KEY, v int);
        CREATE TABLE child () INHERITS (base);
        INSERT INTO base VALUES (1), (2);
        INSERT INTO child VALUES (1)";
    let scene = Scene::new(sql).await;
    scene.install(spec("base").outbox()).await;
    scene.run("UPDATE base SET v = 1").await;
    let keys = "SELECT string_agg(key, ' ' ORDER BY key) FROM pgherald.outbox";
    assert_eq!(scene.value(keys).await, "1 1 2");
    scene.run("DELETE FROM ONLY base").await;
    scene
        .run("TRUNCATE pgherald.outbox; UPDATE base SET id = 3")
        .await;
    assert_eq!(scene.value(keys).await, "1 3");
}
