//! Columns that were altered after the installation. The remaining columns are still recorded.

use super::support::{Listener, Scene, event, installed, recorded, spec};

const ORDERS: &str =
    "CREATE TABLE orders (id int PRIMARY KEY, status text, note text, total int, placed date)";

async fn scene() -> Scene {
    let scene = installed(ORDERS, spec("orders").every_column().outbox()).await;
    scene
        .run("INSERT INTO orders VALUES (1, 'new', 'x', 5, '2020-01-02'), (2, 'new', 'y', NULL, NULL)")
        .await;
    scene
}

#[tokio::test]
async fn a_renamed_column_is_left_out_and_the_key_and_other_columns_are_recorded() {
    let scene = scene().await;
    scene
        .run("ALTER TABLE orders RENAME COLUMN note TO remark")
        .await;
    let rows = recorded(&scene, "UPDATE orders SET status = 'paid' WHERE id = 1").await;
    assert_eq!(
        rows,
        [r#"update 1 {"id":1,"status":"paid","total":5,"placed":"2020-01-02"}"#]
    );
    let rows = recorded(&scene, "INSERT INTO orders VALUES (3, 'new')").await;
    assert_eq!(
        rows,
        [r#"insert 3 {"id":3,"status":"new","total":null,"placed":null}"#]
    );
    let rows = recorded(&scene, "DELETE FROM orders WHERE id = 3").await;
    assert_eq!(
        rows,
        [r#"delete 3 {"id":3,"status":"new","total":null,"placed":null}"#]
    );
    let mut rows = recorded(&scene, "UPDATE orders SET id = 4 WHERE id = 2").await;
    rows.sort();
    assert_eq!(
        rows,
        [
            "update 2",
            r#"update 4 {"id":4,"status":"new","total":null,"placed":null}"#
        ]
    );
    assert_eq!(
        recorded(&scene, "UPDATE orders SET id = 4 WHERE false").await,
        [""; 0]
    );
}

#[tokio::test]
async fn a_dropped_column_is_left_out_and_the_others_are_recorded() {
    let scene = scene().await;
    scene.run("ALTER TABLE orders DROP note, DROP placed").await;
    let rows = recorded(&scene, "UPDATE orders SET status = 'paid'").await;
    let expected = [
        r#"update 1 {"id":1,"status":"paid","total":5}"#,
        r#"update 2 {"id":2,"status":"paid","total":null}"#,
    ];
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn a_column_whose_type_changed_is_recorded_in_its_new_type() {
    let scene = scene().await;
    scene.run("ALTER TABLE orders ALTER total TYPE text USING total || ' EUR', ALTER note TYPE bool USING note = 'x', ALTER placed TYPE timestamptz USING placed AT TIME ZONE 'UTC'").await;
    scene
        .run("SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'German'")
        .await;
    let rows = recorded(&scene, "UPDATE orders SET status = 'paid'").await;
    let expected = [
        r#"update 1 {"id":1,"status":"paid","note":true,"total":"5 EUR","placed":"2020-01-02 00:00:00+00"}"#,
        r#"update 2 {"id":2,"status":"paid","note":false,"total":null,"placed":null}"#,
    ];
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn a_key_whose_type_changed_is_recorded_in_its_new_type() {
    let scene = installed("CREATE TABLE t (id int PRIMARY KEY)", spec("t").outbox()).await;
    scene
        .run("ALTER TABLE t ALTER id TYPE text USING 'k' || id")
        .await;
    assert_eq!(
        recorded(&scene, "INSERT INTO t VALUES ('a')").await,
        [r#"insert "a""#]
    );
    scene
        .run("ALTER TABLE t ALTER id TYPE bigint USING length(id)")
        .await;
    assert_eq!(
        recorded(&scene, "INSERT INTO t VALUES (5000000000)").await,
        ["insert 5000000000"]
    );
    // The text of this type depends on settings that the function does not pin.
    scene
        .run("ALTER TABLE t ALTER id TYPE timestamptz USING to_timestamp(id)")
        .await;
    assert_eq!(
        recorded(&scene, "INSERT INTO t VALUES (now())").await,
        ["insert"]
    );
}

#[tokio::test]
async fn a_renamed_key_column_causes_events_about_the_whole_table() {
    let scene = scene().await;
    scene.run("ALTER TABLE orders RENAME id TO number").await;
    for (sql, expected) in [
        ("UPDATE orders SET status = 'paid'", "update"),
        ("INSERT INTO orders VALUES (9)", "insert"),
        ("DELETE FROM orders", "delete"),
    ] {
        assert_eq!(recorded(&scene, sql).await, [expected], "{sql}");
    }
}

#[tokio::test]
async fn every_update_counts_if_a_watched_column_is_gone() {
    let spec = spec("orders")
        .columns(["status", "note"])
        .old_columns()
        .when_changed(["note", "status"]);
    let scene = installed(ORDERS, spec.outbox()).await;
    scene.run("INSERT INTO orders VALUES (1, 'new', 'x')").await;
    scene.run("ALTER TABLE orders RENAME note TO remark").await;
    let rows = recorded(&scene, "UPDATE orders SET total = 1").await;
    assert_eq!(rows, [r#"update 1 {"status":"new"} {"status":"new"} {}"#]);
    let rows = recorded(&scene, "UPDATE orders SET status = 'paid'").await;
    assert_eq!(
        rows,
        [r#"update 1 {"status":"paid"} {"status":"new"} {status}"#]
    );
}

#[tokio::test]
async fn renaming_another_column_does_not_affect_watched_columns() {
    let spec = spec("orders").columns(["note"]).when_changed(["status"]);
    let scene = installed(ORDERS, spec.outbox()).await;
    scene
        .run("INSERT INTO orders VALUES (1, 'new', 'x'), (2, NULL, 'x')")
        .await;
    scene.run("ALTER TABLE orders RENAME note TO remark").await;
    assert_eq!(
        recorded(&scene, "UPDATE orders SET total = 1").await,
        [""; 0]
    );
    let mut rows = recorded(&scene, "UPDATE orders SET status = 'a'").await;
    rows.sort();
    assert_eq!(rows, ["update 1 {}", "update 2 {}"]);
}

#[tokio::test]
async fn a_table_without_key_whose_watched_column_is_renamed_records_every_update() {
    let sql = "CREATE TABLE log (line text, level int); INSERT INTO log VALUES ('a', 1)";
    let scene = installed(sql, spec("log").when_changed(["level"]).outbox()).await;
    scene.run("ALTER TABLE log RENAME level TO severity").await;
    assert_eq!(
        recorded(&scene, "UPDATE log SET line = 'b'").await,
        ["update"]
    );
    assert_eq!(
        recorded(&scene, "UPDATE log SET line = 'b' WHERE false").await,
        [""; 0]
    );
}

#[tokio::test]
async fn renaming_an_enum_or_a_domain_does_not_affect_recording() {
    let sql =
        "CREATE TYPE mood AS ENUM ('ok', 'sad'); CREATE DOMAIN positive AS int CHECK (VALUE > 0);
        CREATE TABLE t (id positive PRIMARY KEY, m mood)";
    let spec = spec("t").columns(["m"]).old_columns().when_changed(["m"]);
    let scene = installed(sql, spec.outbox()).await;
    scene.run("INSERT INTO t VALUES (1, 'ok')").await;
    scene.run("ALTER TYPE mood RENAME TO temper; ALTER DOMAIN positive RENAME TO counting; CREATE SCHEMA other; ALTER TYPE temper SET SCHEMA other").await;
    let rows = recorded(&scene, "UPDATE t SET m = 'sad'").await;
    assert_eq!(rows, [r#"update 1 {"m":"sad"} {"m":"ok"} {m}"#]);
    assert_eq!(recorded(&scene, "UPDATE t SET m = 'sad'").await, [""; 0]);
}

#[tokio::test]
async fn each_statement_warns_once_and_names_the_missing_columns() {
    let scene = scene().await;
    scene
        .run("ALTER TABLE orders RENAME note TO remark; ALTER TABLE orders DROP total")
        .await;
    let warnings = scene.warnings("UPDATE orders SET status = 'paid'").await;
    let expected = "pgherald leaves out columns of public.orders that were renamed, dropped or changed their type: note, total";
    assert_eq!(warnings, [expected]);
    scene.run("ALTER TABLE orders RENAME id TO number").await;
    let warnings = scene.warnings("UPDATE orders SET status = 'paid'").await;
    let expected = "pgherald cannot list the changed rows of public.orders: key column id was renamed, dropped or changed its type";
    assert_eq!(warnings, [expected]);
}

#[tokio::test]
async fn a_missing_helper_function_does_not_fail_the_write() {
    let scene = scene().await;
    scene
        .run("ALTER TABLE orders RENAME note TO remark; DROP FUNCTION pgherald.rows_query")
        .await;
    assert_eq!(
        recorded(&scene, "UPDATE orders SET status = 'paid'").await,
        ["update"]
    );
    let drift = scene.drift(&spec("orders").outbox()).await;
    assert!(
        drift
            .iter()
            .any(|drift| drift.contains("pgherald.rows_query is outdated: it is missing")),
        "{drift:?}"
    );
    scene.install(spec("orders").outbox()).await;
    assert_eq!(
        recorded(&scene, "UPDATE orders SET status = 'new' WHERE id = 1").await,
        ["update 1"]
    );
}

#[tokio::test]
async fn remaining_columns_are_announced_after_a_rename() {
    let mut scene = Scene::new(ORDERS).await;
    scene
        .install(
            spec("orders")
                .columns(["status", "note"])
                .when_changed(["status"]),
        )
        .await;
    scene
        .run("INSERT INTO orders VALUES (1, 'new', 'x', 1)")
        .await;
    scene.run("ALTER TABLE orders RENAME note TO remark").await;
    scene.announced("").await;
    let one = |operation, id, status| {
        let rest = format!(r#","key":["id"],"keys":[{id}],"columns":[{{"status":"{status}"}}]"#);
        [event(operation, "orders", &rest)]
    };
    assert_eq!(
        scene.shapes("UPDATE orders SET status = 'paid'").await,
        one("update", 1, "paid")
    );
    assert_eq!(scene.shapes("UPDATE orders SET total = 3").await, [""; 0]);
    assert_eq!(
        scene.shapes("INSERT INTO orders VALUES (2, 'new')").await,
        one("insert", 2, "new")
    );
    let moved = r#","key":["id"],"keys":[3,2],"columns":[{"status":"new"},null]"#;
    let mut shapes = scene.shapes("UPDATE orders SET id = 3 WHERE id = 2").await;
    if shapes[0].contains("[2,3]") {
        shapes[0] = event("update", "orders", moved);
    }
    assert_eq!(shapes, [event("update", "orders", moved)]);
    assert_eq!(
        scene.shapes("DELETE FROM orders WHERE id = 3").await,
        one("delete", 3, "new")
    );
    scene.run("ALTER TABLE orders RENAME id TO number").await;
    scene.announced("").await;
    assert_eq!(
        scene.shapes("DELETE FROM orders").await,
        [event("delete", "orders", "")]
    );
}

#[tokio::test]
async fn a_column_in_place_of_a_renamed_one_is_not_read_through_the_writers_functions() {
    let scene = scene().await;
    scene.run("ALTER TABLE orders RENAME note TO remark; CREATE SCHEMA evil;
        CREATE FUNCTION evil.note(orders) RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $q$trap$q$; END';
        CREATE FUNCTION evil.format(text, VARIADIC text[]) RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $q$trap$q$; END';
        CREATE FUNCTION evil.concat(VARIADIC text[]) RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $q$trap$q$; END';
        CREATE FUNCTION evil.hit(text, text) RETURNS bool LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $q$trap$q$; END';
        CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.hit);
        CREATE OPERATOR evil.<> (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.hit)").await;
    let mut listener = Listener::on(&scene.url, "pgherald_outbox").await;
    let rows = recorded(&scene, "SET search_path = evil, pg_catalog, public; UPDATE public.orders SET status = 'paid' WHERE id = 2; RESET search_path").await;
    assert_eq!(
        rows,
        [r#"update 2 {"id":2,"status":"paid","total":null,"placed":null}"#]
    );
    assert!(listener.heard(&scene.client).await.len() <= 1);
}
