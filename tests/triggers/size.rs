//! Payloads stay below PostgreSQL's limit, and writes of any size succeed.

use std::collections::BTreeSet;

use super::support::{Scene, event, spec};

/// `pg_notify` rejects payloads of this many bytes.
const LIMIT: usize = 8000;

/// The elements of `member` in all payloads, as text.
async fn elements(scene: &Scene, payloads: &[String], member: &str) -> Vec<String> {
    let mut all = Vec::new();
    for payload in payloads {
        assert!(payload.len() < LIMIT, "{} bytes", payload.len());
        let sql =
            "SELECT array_agg(e.value) FROM json_array_elements_text($1::text::json -> $2) AS e";
        let row = scene
            .client
            .query_one(sql, &[payload, &member])
            .await
            .unwrap();
        let elements: Option<Vec<Option<String>>> = row.get(0);
        all.extend(
            elements
                .unwrap()
                .into_iter()
                .map(|e| e.unwrap_or_else(|| "null".to_owned())),
        );
    }
    all
}

#[tokio::test]
async fn many_keys_are_split_into_payloads_and_each_is_announced_once() {
    let mut scene = Scene::new("CREATE TABLE t (id uuid PRIMARY KEY)").await;
    scene.install(spec("t")).await;
    let sql = "INSERT INTO t SELECT gen_random_uuid() FROM generate_series(1, 500)";
    for operation in [sql, "UPDATE t SET id = gen_random_uuid()", "DELETE FROM t"] {
        let before = scene.value("SELECT string_agg(id::text, ',') FROM t").await;
        let payloads = scene.announced(operation).await;
        let after = scene.value("SELECT string_agg(id::text, ',') FROM t").await;
        assert!(payloads.len() > 1);
        let keys = elements(&scene, &payloads, "keys").await;
        let announced: BTreeSet<&str> = keys.iter().map(|key| &**key).collect();
        let real = before
            .split(',')
            .chain(after.split(','))
            .filter(|key| !key.is_empty());
        assert_eq!(announced, real.collect(), "{operation}");
        assert_eq!(announced.len(), keys.len(), "{operation}");
    }
}

#[tokio::test]
async fn payloads_are_filled_up_to_the_limit() {
    let mut scene = Scene::new("CREATE TABLE t (id text PRIMARY KEY, v text)").await;
    scene.install(spec("t").columns(["v"])).await;
    // Lengths around the limit, in two-byte characters.
    for length in 3890..3960 {
        let sql =
            format!("INSERT INTO t VALUES ('{length}', repeat('ü', {length})), ('{length}b', 'x')");
        let payloads = scene.announced(&sql).await;
        let keys = elements(&scene, &payloads, "keys").await;
        assert_eq!(keys, [format!("{length}"), format!("{length}b")]);
        let columns = elements(&scene, &payloads, "columns").await;
        let fits = payloads.iter().any(|payload| payload.contains('ü'));
        assert_eq!(columns[0] != "null", fits);
        assert_eq!(columns[1], r#"{"v":"x"}"#);
    }
}

#[tokio::test]
async fn a_payload_may_have_one_byte_less_than_the_limit() {
    let mut scene = Scene::new("CREATE TABLE t (id text PRIMARY KEY)").await;
    scene.install(spec("t")).await;
    // A payload contains the id of its transaction: those of this test must have the same number of digits.
    loop {
        let id = "SELECT pg_current_xact_id()::text::int8";
        let id: i64 = scene.client.query_one(id, &[]).await.unwrap().get(0);
        if id.ilog10() == (id + 1_000).ilog10() {
            break;
        }
    }
    let one = scene.announced("INSERT INTO t VALUES ('x')").await;
    let room = LIMIT - one[0].len();
    let payloads = scene
        .announced(&format!("INSERT INTO t VALUES (repeat('y', {room}))"))
        .await;
    assert_eq!(payloads[0].len(), LIMIT - 1);
    let shapes = scene
        .shapes(&format!("INSERT INTO t VALUES (repeat('z', {room} + 1))"))
        .await;
    assert_eq!(shapes, [event("insert", "t", "")]);
}

#[tokio::test]
async fn columns_that_do_not_fit_are_unavailable_and_others_are_announced() {
    let mut scene =
        Scene::new("CREATE TABLE t (id int PRIMARY KEY, v text, doc jsonb, raw bytea)").await;
    scene.install(spec("t").columns(["v", "doc", "raw"])).await;
    let beyond = r#"{"unavailable":{"limit":7999}}"#;
    let row = |v: &str, doc: &str, raw: &str| format!(r#"{{"v":{v},"doc":{doc},"raw":{raw}}}"#);
    let large = [
        (
            "repeat('x', 20000000), NULL, NULL",
            row(beyond, "null", "null"),
        ),
        (
            "NULL, to_jsonb(repeat('x', 20000000)), NULL",
            row("null", beyond, "null"),
        ),
        (
            "NULL, NULL, decode(repeat('00', 20000000), 'hex')",
            row("null", "null", beyond),
        ),
        // The value itself fits, but its JSON does not.
        ("repeat(E'\\x01', 2000), NULL, NULL", "null".to_owned()),
    ];
    for (id, (large, columns)) in (0..).step_by(2).zip(large) {
        let sql = format!("INSERT INTO t VALUES ({id}, {large}), ({id} + 1, 'a', '1', NULL)");
        let expected = format!(
            r#","key":["id"],"types":{{"doc":"json","raw":"bytea"}},"keys":[{id},{}],"columns":[{columns},{{"v":"a","doc":"1","raw":null}}]"#,
            id + 1
        );
        assert_eq!(scene.shapes(&sql).await, [event("insert", "t", &expected)]);
    }
    let payloads = scene.announced("UPDATE t SET v = v; DELETE FROM t").await;
    assert_eq!(elements(&scene, &payloads, "keys").await.len(), 16);
}

#[tokio::test]
async fn a_key_that_does_not_fit_causes_an_event_about_the_whole_table() {
    let mut scene = Scene::new("CREATE TABLE t (id text, other int)").await;
    scene.install(spec("t").key_columns(["id", "other"])).await;
    for key in [
        "repeat('x', 7990)",
        "repeat('x', 9000)",
        "repeat('x', 20000000)",
        "repeat('\"', 5000)",
    ] {
        let sql = format!("INSERT INTO t VALUES ('a', 1), ({key}, 1)");
        assert_eq!(
            scene.shapes(&sql).await,
            [event("insert", "t", "")],
            "{key}"
        );
    }
    assert_eq!(
        scene.shapes("UPDATE t SET id = 'b'").await,
        [event("update", "t", "")]
    );
}

#[tokio::test]
async fn more_than_a_thousand_rows_are_one_event_about_the_table() {
    let mut scene = Scene::new("CREATE TABLE t (id int PRIMARY KEY)").await;
    scene.install(spec("t")).await;
    let rows = |count| format!("INSERT INTO t SELECT generate_series(1, {count})");
    let payloads = scene.announced(&rows(1000)).await;
    assert_eq!(elements(&scene, &payloads, "keys").await.len(), 1000);
    let payloads = scene.announced("UPDATE t SET id = -id").await;
    assert_eq!(elements(&scene, &payloads, "keys").await.len(), 2000);
    scene.announced("TRUNCATE t").await;
    assert_eq!(scene.shapes(&rows(1001)).await, [event("insert", "t", "")]);
    assert_eq!(
        scene.shapes("UPDATE t SET id = -id").await,
        [event("update", "t", "")]
    );
    assert_eq!(
        scene.shapes("DELETE FROM t").await,
        [event("delete", "t", "")]
    );
}

#[tokio::test]
async fn a_million_rows_are_written_and_announced_once() {
    let mut scene = Scene::new("CREATE UNLOGGED TABLE t (id int PRIMARY KEY, v int)").await;
    scene.install(spec("t").columns(["v"])).await;
    let insert = "INSERT INTO t SELECT i, i FROM generate_series(1, 1000000) AS i";
    assert_eq!(scene.shapes(insert).await, [event("insert", "t", "")]);
    assert_eq!(
        scene.shapes("DELETE FROM t").await,
        [event("delete", "t", "")]
    );
}
