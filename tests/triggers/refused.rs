//! Specifications that do not fit the database are rejected with helpful messages before anything changes.

use pgherald_core::trigger::TriggerSpec;
use pgherald_core::{Error, Operation, TableName, trigger};

use super::support::{Scene, spec};

async fn refusal(scene: &Scene, specs: &[TriggerSpec]) -> String {
    let before = scene.catalog().await;
    let error: Error = trigger::plan(&scene.client, specs).await.unwrap_err();
    assert!(error.is_config(), "{error:?}");
    assert_eq!(scene.catalog().await, before);
    error.to_string()
}

#[tokio::test]
async fn a_missing_table_is_an_error_with_similar_names() {
    let scene = Scene::new("CREATE SCHEMA app; CREATE TABLE app.\"Users\" (id int)").await;
    let message = refusal(&scene, &[spec("users")]).await;
    assert_eq!(
        message,
        "table public.users does not exist; there is app.Users"
    );
    let message = refusal(&scene, &[spec("posts")]).await;
    assert_eq!(
        message,
        "table public.posts does not exist; create it first"
    );
}

#[tokio::test]
async fn a_missing_column_is_an_error_with_the_existing_columns() {
    let scene = Scene::new("CREATE TABLE t (id int PRIMARY KEY, gone int, email text)").await;
    scene.run("ALTER TABLE t DROP gone").await;
    for spec in [
        spec("t").columns(["emial"]),
        spec("t").key_columns(["emial"]),
        spec("t").when_changed(["emial"]),
    ] {
        let message = refusal(&scene, &[spec]).await;
        assert_eq!(
            message,
            r#"specification of public.t: there is no column "emial"; the columns are id, email"#
        );
    }
    for hidden in ["ctid", "gone", "ID"] {
        assert!(
            refusal(&scene, &[spec("t").columns([hidden])])
                .await
                .contains(hidden)
        );
    }
}

#[tokio::test]
async fn relations_without_transition_tables_are_rejected() {
    let sql = "CREATE TABLE t (id int); CREATE VIEW v AS SELECT 1 AS id;
        CREATE MATERIALIZED VIEW m AS SELECT 1 AS id; CREATE SEQUENCE s;
        CREATE FOREIGN DATA WRAPPER w; CREATE SERVER far FOREIGN DATA WRAPPER w;
        CREATE FOREIGN TABLE f (id int) SERVER far;
        CREATE TABLE p (id int) PARTITION BY LIST (id);
        CREATE FOREIGN TABLE p1 PARTITION OF p FOR VALUES IN (1) SERVER far";
    let scene = Scene::new(sql).await;
    for (name, word) in [
        ("v", "view"),
        ("m", "materialized"),
        ("f", "foreign"),
        ("s", "not a table"),
    ] {
        let message = refusal(&scene, &[spec(name)]).await;
        assert!(
            message.starts_with(&format!("public.{name} is")) && message.contains(word),
            "{message}"
        );
    }
    let message = refusal(&scene, &[spec("p")]).await;
    assert!(
        message.contains("its partition public.p1 is a foreign table"),
        "{message}"
    );
}

#[tokio::test]
async fn contradictory_specifications_are_rejected() {
    let scene = Scene::new("CREATE TABLE t (a int); CREATE TABLE k (id int PRIMARY KEY)").await;
    let none = Vec::<Operation>::new()
        .into_iter()
        .collect::<pgherald_core::OperationSet>();
    let cases = [
        (vec![spec("t").columns(["a"])], "need a key"),
        (
            vec![spec("k").key_columns([""; 0]).columns(["id"])],
            "need a key",
        ),
        (vec![spec("t").operations(none)], "no operation"),
        (
            vec![spec("t").operations(Operation::Insert).when_changed(["a"])],
            "needs updates",
        ),
        (vec![spec("t").key_columns(["a", "a"])], "twice"),
        (
            vec![spec("t"), spec("k"), spec("t")],
            "two specifications of public.t",
        ),
    ];
    for (specs, words) in cases {
        let message = refusal(&scene, &specs).await;
        assert!(message.contains(words), "{message}");
    }
}

#[tokio::test]
async fn names_are_not_interpreted_as_sql() {
    let scene = Scene::new("").await;
    let name = TableName::new("public", "t; DROP SCHEMA public --").unwrap();
    let message = refusal(&scene, &[TriggerSpec::new(name)]).await;
    assert!(message.contains("does not exist"), "{message}");
}
