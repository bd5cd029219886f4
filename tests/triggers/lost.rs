//! Rows that an UPDATE moves to another partition, while a BEFORE trigger drops some of them.

use pgherald_core::trigger::TriggerSpec;

use super::support::{Scene, event, installed, recorded, spec};

/// The trigger drops the row `2` on its way to the partition of `b`.
const SQL: &str = "CREATE TABLE items (id int NOT NULL, state text NOT NULL, v int, PRIMARY KEY (id, state)) PARTITION BY LIST (state);
    CREATE TABLE a PARTITION OF items FOR VALUES IN ('a');
    CREATE TABLE b PARTITION OF items FOR VALUES IN ('b');
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN IF NEW.id = 2 THEN RETURN NULL; END IF; RETURN NEW; END';
    CREATE TRIGGER refuse BEFORE INSERT ON b FOR EACH ROW EXECUTE FUNCTION refuse();
    INSERT INTO items SELECT n, 'a', n FROM generate_series(1, 3) AS n";

const MOVE: &str = "UPDATE items SET state = 'b', v = v * 10";

fn by_id() -> TriggerSpec {
    spec("items").key_columns(["id"])
}

/// The rows recorded by [`MOVE`], sorted.
async fn moved(spec: TriggerSpec) -> Vec<String> {
    let scene = installed(SQL, spec.outbox()).await;
    let mut rows = recorded(&scene, MOVE).await;
    rows.sort();
    rows
}

#[tokio::test]
async fn rows_keep_their_old_values_when_another_row_is_lost() {
    let rows = moved(by_id().columns(["v"]).old_columns()).await;
    let expected = [
        r#"delete 2 {"v":2}"#,
        r#"update 1 {"v":10} {"v":1} {v}"#,
        r#"update 3 {"v":30} {"v":3} {v}"#,
    ];
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn a_lost_row_is_recorded_as_deleted_with_every_specification() {
    let rows = moved(by_id()).await;
    assert_eq!(rows, ["delete 2", "update 1", "update 3"]);
    let rows = moved(by_id().columns(["v"])).await;
    let expected = [
        r#"delete 2 {"v":2}"#,
        r#"update 1 {"v":10}"#,
        r#"update 3 {"v":30}"#,
    ];
    assert_eq!(rows, expected);
    let rows = moved(by_id().when_changed(["v"])).await;
    assert_eq!(rows, ["delete 2", "update 1", "update 3"]);
    let scene = installed(SQL, by_id().when_changed(["v"]).outbox()).await;
    let rows = recorded(&scene, "UPDATE items SET state = 'b'").await;
    assert_eq!(rows, ["delete 2"]);
}

#[tokio::test]
async fn a_lost_row_is_recorded_as_deleted_if_it_is_the_only_one() {
    for spec in [by_id(), by_id().when_changed(["v"])] {
        let scene = installed(SQL, spec.outbox()).await;
        let rows = recorded(&scene, &format!("{MOVE} WHERE id = 2")).await;
        assert_eq!(rows, ["delete 2"]);
    }
}

#[tokio::test]
async fn rows_with_the_same_key_are_paired_one_by_one() {
    let sql = SQL.replace("generate_series(1, 3)", "generate_series(1, 4)");
    let repeating = |spec: TriggerSpec| spec.key_columns(["kind"]).columns(["v"]).outbox();
    let sql = format!("{sql}; ALTER TABLE items ADD kind int; UPDATE items SET kind = id % 2");
    let scene = installed(&sql, repeating(spec("items").old_columns())).await;
    let mut rows = recorded(&scene, "UPDATE items SET v = v + 1").await;
    rows.sort();
    let expected = [
        r#"update 0 {"v":3} {"v":2} {v}"#,
        r#"update 0 {"v":5} {"v":4} {v}"#,
        r#"update 1 {"v":2} {"v":1} {v}"#,
        r#"update 1 {"v":4} {"v":3} {v}"#,
    ];
    assert_eq!(rows, expected);
    let rows = recorded(&scene, "UPDATE items SET kind = 1").await;
    assert_eq!(rows.len(), 6, "two keys are gone: {rows:?}");
}

#[tokio::test]
async fn swapped_keys_are_paired_by_key() {
    let sql = "CREATE TABLE items (id int PRIMARY KEY DEFERRABLE, v int); INSERT INTO items VALUES (1, 10), (2, 20)";
    let spec = spec("items").columns(["v"]).old_columns().outbox();
    let scene = installed(sql, spec).await;
    let mut rows = recorded(&scene, "UPDATE items SET id = 3 - id").await;
    rows.sort();
    let expected = [
        r#"update 1 {"v":20} {"v":10} {v}"#,
        r#"update 2 {"v":10} {"v":20} {v}"#,
    ];
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn both_halves_of_an_upsert_keep_their_values() {
    let sql =
        "CREATE TABLE items (id int PRIMARY KEY, v int); INSERT INTO items VALUES (1, 1), (2, 2)";
    let spec = spec("items").columns(["v"]).old_columns().outbox();
    let scene = installed(sql, spec).await;
    let upsert = "INSERT INTO items VALUES (3, 30), (2, 20), (1, 10) ON CONFLICT (id) DO UPDATE SET v = excluded.v";
    let mut rows = recorded(&scene, upsert).await;
    rows.sort();
    let expected = [
        r#"insert 3 {"v":30}"#,
        r#"update 1 {"v":10} {"v":1} {v}"#,
        r#"update 2 {"v":20} {"v":2} {v}"#,
    ];
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn inherited_children_pair_their_rows_with_the_parents() {
    let sql =
        "CREATE TABLE items (id int PRIMARY KEY, v int); CREATE TABLE child () INHERITS (items);
        INSERT INTO items VALUES (1, 1); INSERT INTO child VALUES (2, 2)";
    let spec = spec("items").columns(["v"]).old_columns().outbox();
    let scene = installed(sql, spec).await;
    let mut rows = recorded(&scene, "UPDATE items SET v = v * 10").await;
    rows.sort();
    let expected = [
        r#"update 1 {"v":10} {"v":1} {v}"#,
        r#"update 2 {"v":20} {"v":2} {v}"#,
    ];
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn a_lost_row_is_announced_as_deleted() {
    for spec in [
        by_id().columns(["v"]),
        by_id().columns(["v"]).when_changed(["v"]),
    ] {
        let mut scene = Scene::new(SQL).await;
        scene.install(spec).await;
        let lost = r#","key":["id"],"keys":[2],"columns":[{"v":2}]"#;
        let kept = r#","key":["id"],"keys":[1,3],"columns":[{"v":10},{"v":30}]"#;
        let expected = [
            event("update", "items", kept),
            event("delete", "items", lost),
        ];
        assert_eq!(scene.shapes(MOVE).await, expected);
    }
}
