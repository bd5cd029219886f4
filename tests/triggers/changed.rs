//! `when_changed`: updates that do not change the watched columns are not announced.

use super::support::{Scene, event, spec};

const SQL: &str =
    "CREATE TABLE t (id int PRIMARY KEY, a text, doc json, raw bytea, n numeric, other int);
    INSERT INTO t VALUES (1, 'x', '{}', 'r', 1.0, 0), (2, NULL, NULL, NULL, NULL, 0)";

fn updated(keys: &str) -> Vec<String> {
    vec![event(
        "update",
        "t",
        &format!(r#","key":["id"],"keys":{keys}"#),
    )]
}

async fn scene() -> Scene {
    let scene = Scene::new(SQL).await;
    scene
        .install(spec("t").when_changed(["a", "doc", "raw", "n"]))
        .await;
    scene
}

#[tokio::test]
async fn an_update_of_other_columns_is_not_announced() {
    let mut scene = scene().await;
    assert_eq!(scene.shapes("UPDATE t SET other = 1").await, [""; 0]);
    assert_eq!(
        scene
            .shapes("UPDATE t SET a = a, doc = doc, raw = raw, n = n")
            .await,
        [""; 0]
    );
}

#[tokio::test]
async fn a_watched_column_of_any_type_counts() {
    let mut scene = scene().await;
    for change in [
        "a = 'y'",
        "doc = '{ }'",
        "raw = 'q'",
        "n = 1.00",
        "n = NULL",
    ] {
        let shapes = scene
            .shapes(&format!("UPDATE t SET {change} WHERE id = 1"))
            .await;
        assert_eq!(shapes, updated("[1]"), "{change}");
    }
}

#[tokio::test]
async fn changes_to_and_from_null_count() {
    let mut scene = scene().await;
    for change in [
        "a = NULL",
        "a = ''",
        "doc = NULL",
        "doc = 'null'",
        "raw = NULL",
        "raw = ''",
    ] {
        let shapes = scene
            .shapes(&format!("UPDATE t SET {change} WHERE id = 1"))
            .await;
        assert_eq!(shapes, updated("[1]"), "{change}");
    }
    assert_eq!(
        scene.shapes("UPDATE t SET a = NULL WHERE id = 2").await,
        [""; 0]
    );
}

#[tokio::test]
async fn values_swapped_between_rows_count_as_changes() {
    let mut scene = Scene::new(SQL).await;
    scene.install(spec("t").when_changed(["a"])).await;
    scene.run("UPDATE t SET a = id").await;
    scene.announced("").await;
    let shapes = scene.shapes("UPDATE t SET a = 3 - id").await;
    assert_eq!(shapes, updated("[1,2]"));
}

#[tokio::test]
async fn a_changed_key_counts_as_a_change() {
    let mut scene = scene().await;
    let shapes = scene.shapes("UPDATE t SET id = 9 WHERE id = 1").await;
    assert_eq!(shapes, updated("[9,1]"));
}

#[tokio::test]
async fn changes_of_case_count_in_case_insensitive_columns() {
    let sql = "CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
        CREATE TABLE t (id int PRIMARY KEY, a text COLLATE loose); INSERT INTO t VALUES (1, 'x')";
    let mut scene = Scene::new(sql).await;
    scene.install(spec("t").when_changed(["a"])).await;
    assert_eq!(scene.shapes("UPDATE t SET a = 'X'").await, updated("[1]"));
}

#[tokio::test]
async fn without_a_key_only_the_watched_columns_are_compared() {
    let mut scene =
        Scene::new("CREATE TABLE t (a int, b int); INSERT INTO t VALUES (1, 1), (1, 2)").await;
    scene.install(spec("t").when_changed(["a"])).await;
    assert_eq!(scene.shapes("UPDATE t SET b = 5").await, [""; 0]);
    assert_eq!(
        scene.shapes("UPDATE t SET a = 2 WHERE b = 5").await,
        [event("update", "t", "")]
    );
    assert_eq!(
        scene.shapes("UPDATE t SET a = 3 WHERE false").await,
        [""; 0]
    );
    // The table has the same values, but not as often.
    scene
        .run("TRUNCATE t; INSERT INTO t VALUES (1, 0), (2, 0), (2, 1)")
        .await;
    scene.announced("").await;
    let shapes = scene
        .shapes("UPDATE t SET a = CASE b WHEN 1 THEN 1 ELSE a END")
        .await;
    assert_eq!(shapes, [event("update", "t", "")]);
}

#[tokio::test]
async fn large_updates_are_compared() {
    let sql = "CREATE TABLE t (id int PRIMARY KEY, a int, b int);
        INSERT INTO t SELECT i, 1, 1 FROM generate_series(1, 50000) AS i";
    let mut scene = Scene::new(sql).await;
    scene.install(spec("t").when_changed(["a"])).await;
    assert_eq!(scene.shapes("UPDATE t SET b = 2").await, [""; 0]);
    let one_of_many = "UPDATE t SET a = CASE WHEN id = 40000 THEN 2 ELSE a END";
    assert_eq!(scene.shapes(one_of_many).await, [event("update", "t", "")]);
}

#[tokio::test]
async fn only_changed_rows_are_listed() {
    let mut scene = scene().await;
    let shapes = scene
        .shapes("UPDATE t SET a = CASE id WHEN 2 THEN 'new' ELSE a END, other = 9")
        .await;
    assert_eq!(shapes, updated("[2]"));
    let shapes = scene
        .shapes("UPDATE t SET id = CASE id WHEN 2 THEN 3 ELSE id END, other = 10")
        .await;
    assert_eq!(shapes, updated("[3,2]"));
}

#[tokio::test]
async fn changed_rows_are_identified_by_null_and_composite_keys() {
    let sql = "CREATE TABLE t (a int, b text, v int); INSERT INTO t VALUES (1, NULL, 1), (2, 'x', 1), (3, 'y', 1)";
    let mut scene = Scene::new(sql).await;
    scene
        .install(
            spec("t")
                .key_columns(["b"])
                .when_changed(["v"])
                .columns(["v"]),
        )
        .await;
    let update = "UPDATE t SET v = CASE a WHEN 3 THEN v ELSE v + 1 END";
    let rest = r#","key":["b"],"keys":[null,"x"],"columns":[{"v":2},{"v":2}]"#;
    assert_eq!(scene.shapes(update).await, [event("update", "t", rest)]);
    scene
        .install(spec("t").key_columns(["a", "b"]).when_changed(["v"]))
        .await;
    let rest = r#","key":["a","b"],"keys":[[1,null],[2,"x"]]"#;
    assert_eq!(scene.shapes(update).await, [event("update", "t", rest)]);
}

#[tokio::test]
async fn a_changed_row_with_an_oversized_key_causes_an_event_about_the_whole_table() {
    let sql =
        "CREATE TABLE t (id text, v int); INSERT INTO t VALUES (repeat('\"', 9000), 1), ('a', 1)";
    let mut scene = Scene::new(sql).await;
    scene
        .install(spec("t").key_columns(["id"]).when_changed(["v"]))
        .await;
    let shapes = scene
        .shapes("UPDATE t SET v = CASE id WHEN 'a' THEN 2 ELSE v END")
        .await;
    assert_eq!(
        shapes,
        [event("update", "t", r#","key":["id"],"keys":["a"]"#)]
    );
    let shapes = scene.shapes("UPDATE t SET v = v + 1").await;
    assert_eq!(shapes, [event("update", "t", "")]);
}
