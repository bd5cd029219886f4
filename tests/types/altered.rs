//! Columns whose type changes before and after the triggers are installed again, and unavailable values.

use std::error::Error;

use pgherald::ErrorKind;
use pgherald_core::trigger::TriggerSpec;
use pgherald_core::{Event, TableName};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{Row, Scene};

fn spec(name: &str) -> TriggerSpec {
    let table = TableName::new("public", name).unwrap();
    TriggerSpec::new(table).columns(["v"])
}

async fn scene(type_name: &str) -> Scene {
    let sql = format!(
        "CREATE TYPE pair AS (a int, b float8);
        CREATE TABLE n (id int PRIMARY KEY, v {type_name}); CREATE TABLE r (id int PRIMARY KEY, v {type_name})"
    );
    Scene::new(&sql, &["n".to_owned()], &["r".to_owned()]).await
}

async fn write(scene: &mut Scene, value: &str) -> [Event; 2] {
    let sql = ["n", "r"].map(|name| {
        format!(
            "INSERT INTO {name} VALUES (1, {value}) ON CONFLICT (id) DO UPDATE SET v = excluded.v"
        )
    });
    scene.run(&sql.join(";")).await;
    let (mut announced, mut recorded) = scene.events().await;
    assert_eq!((announced.len(), recorded.len()), (1, 1));
    [announced.remove(0), recorded.remove(0)]
}

fn value(event: &Event) -> Value {
    event.columns::<Row<Value>>().unwrap().unwrap().v
}

#[tokio::test]
async fn a_value_whose_type_changed_since_the_installation_is_text() {
    for (before, after, written, expected) in [
        ("numeric", "text", "'a'", json!("a")),
        ("double precision", "text", "'a'", json!("a")),
        ("integer[]", "text", "'{1'", json!("{1")),
        ("integer[]", "text[]", "'{a}'", json!(["a"])),
        ("timestamptz", "text", "'yesterday'", json!("yesterday")),
        ("bytea", "text", "'a'", json!("a")),
        ("pair", "text", "'(1)'", json!("(1)")),
        ("text", "integer", "7", json!(7)),
        ("numeric", "boolean", "true", json!("t")),
    ] {
        let mut scene = scene(before).await;
        let using = format!("ALTER v TYPE {after} USING NULL");
        scene
            .run(&format!("ALTER TABLE n {using}; ALTER TABLE r {using}"))
            .await;
        for event in write(&mut scene, written).await {
            let found = value(&event);
            // In a statement that reads columns whose types have changed, numbers and booleans are written as text.
            let is_it = found == expected || found == json!(expected.to_string());
            assert!(is_it, "{before} to {after}: {found}");
            let json: Value = serde_json::from_str(&event.columns_json().unwrap()).unwrap();
            assert_eq!(json["v"], found, "{before} to {after}");
        }
    }
}

#[tokio::test]
async fn events_are_read_by_the_types_at_their_recording() {
    let mut scene = scene("pair").await;
    let [announced, recorded] = write(&mut scene, "ROW(1, 0.5)").await;
    for event in [&announced, &recorded] {
        assert_eq!(value(event), json!({"a": 1, "b": 0.5}));
    }
    scene.run("UPDATE r SET id = id").await;
    scene.run("ALTER TYPE pair ADD ATTRIBUTE c bool").await;
    scene.run("UPDATE r SET v = ROW(2, 0.5, true)").await;
    let specs = [spec("n"), spec("r").old_columns().outbox()];
    scene.install(&specs).await;
    scene.run("UPDATE r SET v = ROW(3, 0.5, true)").await;
    let (_, recorded) = scene.events().await;
    let found: Vec<_> = recorded.iter().map(value).collect();
    // Between the change of the type and the installation, the value has more fields than the installation has names.
    let expected = [
        json!({"a": 1, "b": 0.5}),
        json!("(2,0.5,t)"),
        json!({"a": 3, "b": 0.5, "c": true}),
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn an_unavailable_value_is_distinguished_from_json_that_looks_like_its_mark() {
    let mut scene = scene("jsonb").await;
    let mark = r#"'{"unavailable":{"limit":7999}}'"#;
    for event in write(&mut scene, mark).await {
        assert_eq!(value(&event), json!({"unavailable": {"limit": 7999}}));
        assert_eq!(event.unavailable(), [""; 0]);
        let marked = r#"{"v":{"unavailable": {"limit": 7999}}}"#;
        assert_eq!(event.columns_json().as_deref(), Some(marked));
    }
    let specs = [
        spec("n"),
        spec("r").old_columns().value_limit(7_999).outbox(),
    ];
    scene.install(&specs).await;
    for event in write(&mut scene, "to_jsonb(repeat('x', 9000))").await {
        assert_eq!(event.unavailable(), ["v"]);
        let marked = r#"{"v":{"unavailable":{"limit":7999}}}"#;
        assert_eq!(event.columns_json().as_deref(), Some(marked));
        let error = event.columns::<Row<Value>>().unwrap_err();
        assert!(
            error.to_string().contains("column \"v\" is unavailable"),
            "{error}"
        );
        assert!(event.columns::<Row<Option<Value>>>().is_err());
        #[derive(Deserialize)]
        struct Nothing {}
        assert!(event.columns::<Nothing>().unwrap().is_some());
    }
    for event in write(&mut scene, "'1'").await {
        assert!(event.old_columns::<Row<Option<Value>>>().is_err() || event.outbox_id().is_none());
    }
}

#[tokio::test]
async fn an_error_names_the_column_and_the_value_found_in_it() {
    let mut scene = scene("pair").await;
    #[derive(Debug, Deserialize)]
    struct Pair {
        #[expect(dead_code, reason = "it is never constructed")]
        b: i64,
    }
    for event in write(&mut scene, "ROW(1, 0.5)").await {
        let error = event.columns::<Row<Pair>>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
        let cause = error.source().unwrap().to_string();
        assert_eq!(
            cause,
            "v: b: invalid type: floating point `0.5`, expected i64"
        );
    }
}

#[tokio::test]
async fn types_of_extensions_are_text() {
    let mut scene = scene("text").await;
    let available = scene.client.query(
        "SELECT FROM pg_available_extensions WHERE name = 'citext'",
        &[],
    );
    if available.await.unwrap().is_empty() {
        return;
    }
    scene.run("CREATE EXTENSION citext; ALTER TABLE n ALTER v TYPE citext; ALTER TABLE r ALTER v TYPE citext").await;
    scene.install(&[spec("n"), spec("r").outbox()]).await;
    for event in write(&mut scene, "'Ab'").await {
        assert_eq!(value(&event), json!("Ab"));
    }
}

#[tokio::test]
async fn types_that_do_not_fit_into_a_notification_are_rejected() {
    let scene = scene("text").await;
    let fields: Vec<_> = (0..400)
        .map(|number| format!("f{number} numeric"))
        .collect();
    let sql = format!(
        "CREATE TYPE wide AS ({}); ALTER TABLE n ALTER v TYPE wide USING NULL",
        fields.join(",")
    );
    scene.run(&sql).await;
    let plan = pgherald_core::trigger::plan(&scene.client, &[spec("n")]).await;
    let error = plan.err().unwrap().to_string();
    assert!(
        error.contains("the types of its columns take") && error.contains("outbox"),
        "{error}"
    );
    scene.install(&[spec("n").outbox()]).await;
}
