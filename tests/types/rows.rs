//! The row of a typed event: its columns and the columns of its key.

use std::collections::BTreeMap;
use std::error::Error;

use chrono::{DateTime, NaiveDate, Utc};
use pgherald::{
    Changed, Deleted, ErrorKind, Event, FromEvent, Inserted, Operation, Table, Updated,
};
use pgherald_core::trigger::{self, TriggerSpec};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::Scene;

#[derive(Clone, Debug, PartialEq, Deserialize, Table)]
#[table(name = "orders", key = ["id", "at"])]
struct Order {
    id: i64,
    at: DateTime<Utc>,
    total: Decimal,
    note: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
}

/// A table whose rows consist of their key.
#[derive(Debug, PartialEq, Deserialize, Table)]
#[table(name = "days", key = "day")]
struct Day {
    day: NaiveDate,
}

const TABLES: &str = "
    CREATE TABLE days (day date PRIMARY KEY);
    CREATE TABLE orders (id bigint, at timestamptz, total numeric, note text, tags text[] DEFAULT '{}', PRIMARY KEY (id, at))";

fn order(total: &str, note: Option<&str>) -> Order {
    Order {
        id: 7,
        at: "2026-11-29T01:02:03Z".parse().unwrap(),
        total: total.parse().unwrap(),
        note: note.map(str::to_owned),
        tags: Vec::new(),
    }
}

async fn scene(is_outbox: bool) -> Scene {
    let scene = Scene::new(TABLES, &[], &[]).await;
    let specs = [TriggerSpec::of::<Order>(), TriggerSpec::of::<Day>()];
    let specs = specs.map(Result::unwrap);
    let [orders, days] = specs;
    if is_outbox {
        let orders = orders.old_columns().outbox();
        scene.install(&[orders, days.outbox()]).await;
    } else {
        scene.install(&[orders, days]).await;
    }
    scene
}

#[tokio::test]
async fn a_row_has_the_columns_of_its_struct_and_of_its_key() {
    for is_outbox in [false, true] {
        let mut scene = scene(is_outbox).await;
        scene
            .run(
                "INSERT INTO days VALUES ('2026-11-29'); INSERT INTO orders VALUES (7, '2026-11-29 01:02:03+00', 1.50);
                UPDATE orders SET total = 2, note = 'a'; DELETE FROM orders",
            )
            .await;
        let (announced, recorded) = scene.events().await;
        let events = if is_outbox { recorded } else { announced };
        let day = Inserted::<Day>::from_event(&events[0]).unwrap().unwrap();
        assert_eq!(day.row().unwrap().day, day.key);
        let inserted = Inserted::<Order>::from_event(&events[1]).unwrap().unwrap();
        assert_eq!(inserted.row().unwrap(), order("1.50", None));
        let updated = Updated::<Order>::from_event(&events[2]).unwrap().unwrap();
        assert_eq!(updated.row().unwrap(), order("2", Some("a")));
        let old = is_outbox.then(|| order("1.50", None));
        assert_eq!(updated.old().unwrap(), old);
        let deleted = Deleted::<Order>::from_event(&events[3]).unwrap().unwrap();
        assert_eq!(deleted.row().unwrap(), order("2", Some("a")));
        let changed = Changed::<Order>::from_event(&events[3]).unwrap().unwrap();
        assert_eq!(changed.old().unwrap(), None);
    }
}

#[derive(Debug, Deserialize, Table)]
#[table(name = "lines", key = ["id", "day"])]
struct Line {
    id: i64,
    day: NaiveDate,
    total: Decimal,
    note: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
}

fn event(columns: Option<&str>) -> Inserted<Line> {
    let key = pgherald::RowKey::new([
        pgherald_core::KeyPart::Int(7),
        pgherald_core::KeyPart::Text("2026-11-29".into()),
    ]);
    let event = Event::builder("public", "lines", Operation::Insert).key(key);
    let event = match columns {
        Some(json) => event.columns_json(json),
        None => event,
    };
    Inserted::from_event(&event.build()).unwrap().unwrap()
}

#[test]
fn a_missing_column_is_an_error_unless_it_has_a_default() {
    let whole = event(Some(r#"{"total":"1","note":null,"tags":["a"]}"#));
    assert_eq!(whole.row().unwrap().tags, ["a"]);
    let without_default = event(Some(r#"{"total":"1","note":null}"#));
    let line = without_default.row().unwrap();
    assert_eq!((line.id, line.day), without_default.key);
    assert!(line.tags.is_empty() && line.note.is_none() && line.total == Decimal::ONE);
    for (columns, missing) in [
        (Some(r#"{"total":"1"}"#), "note"),
        (Some(r#"{"note":"a"}"#), "total"),
        (None, "total"),
    ] {
        let error = event(columns).row().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
        let cause = error.source().unwrap().to_string();
        assert_eq!(cause, format!("the event has no column {missing:?}"));
    }
}

#[test]
fn an_event_without_columns_is_an_error_for_a_table_type_that_lists_none() {
    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "it is never constructed")]
    struct User {
        id: i64,
        email: Option<String>,
    }

    impl Table for User {
        const NAME: &'static str = "users";
        const KEY: &'static [&'static str] = &["id"];
        type Key = i64;
    }

    let event = Event::builder("public", "users", Operation::Insert)
        .key(7)
        .build();
    let event = Inserted::<User>::from_event(&event).unwrap().unwrap();
    let cause = event.row().unwrap_err().source().unwrap().to_string();
    assert_eq!(cause, "the event has no column \"email\"");
}

/// A struct with every field attribute of serde.
#[derive(Debug, PartialEq, Deserialize, Table)]
#[serde(rename_all = "camelCase")]
#[table(name = "accounts", key = "id")]
struct Account {
    id: i64,
    full_name: String,
    #[serde(rename = "mail", alias = "email")]
    address: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default = "ten")]
    score: i32,
    #[serde(skip)]
    is_cached: bool,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

fn ten() -> i32 {
    10
}

const ACCOUNTS: &str =
    "CREATE TABLE accounts (id bigint PRIMARY KEY, \"fullName\" text, mail text, note numeric)";

async fn account(scene: &mut Scene, is_outbox: bool, sql: &str) -> Account {
    scene.run(sql).await;
    let (announced, recorded) = scene.events().await;
    let events = if is_outbox { recorded } else { announced };
    let event = Changed::<Account>::from_event(&events[0]).unwrap().unwrap();
    event.row().unwrap()
}

#[tokio::test]
async fn a_column_with_a_default_is_required_only_if_the_table_has_it() {
    for is_outbox in [false, true] {
        let mut scene = Scene::new(ACCOUNTS, &[], &[]).await;
        let spec = TriggerSpec::of::<Account>().unwrap();
        let spec = match is_outbox {
            false => spec,
            true => spec.old_columns().outbox(),
        };
        let spec = spec.columns(["fullName", "mail", "note"]);
        scene.install(std::slice::from_ref(&spec)).await;
        let drifts = async |scene: &Scene| {
            let drifts = trigger::verify(&scene.client, std::slice::from_ref(&spec)).await;
            let drifts = drifts.unwrap();
            assert!(
                drifts.iter().all(trigger::Drift::loses_changes),
                "{drifts:?}"
            );
            drifts.iter().map(ToString::to_string).collect::<String>()
        };
        assert_eq!(drifts(&scene).await, "");
        let plan = trigger::plan(&scene.client, std::slice::from_ref(&spec)).await;
        assert!(plan.unwrap().is_empty());
        let insert = "INSERT INTO accounts VALUES (1, 'Ada', 'a@b', 1.50)";
        let mut expected = Account {
            id: 1,
            full_name: "Ada".to_owned(),
            address: Some("a@b".to_owned()),
            tags: Vec::new(),
            score: 10,
            is_cached: false,
            // No digit is lost.
            rest: [("note".to_owned(), json!("1.50"))].into(),
        };
        assert_eq!(account(&mut scene, is_outbox, insert).await, expected);

        scene
            .run("ALTER TABLE accounts ADD COLUMN tags text[] DEFAULT '{new}'")
            .await;
        let drift = drifts(&scene).await;
        assert!(drift.contains("without column tags;"), "{drift}");
        scene.install(std::slice::from_ref(&spec)).await;
        assert_eq!(drifts(&scene).await, "");
        expected.tags = vec!["new".to_owned()];
        let update = "UPDATE accounts SET id = id";
        assert_eq!(account(&mut scene, is_outbox, update).await, expected);

        scene.run("ALTER TABLE accounts DROP COLUMN mail").await;
        let drift = drifts(&scene).await;
        assert!(drift.contains("there is no column \"mail\""), "{drift}");
    }
}

#[test]
fn a_column_may_arrive_under_an_alias() {
    let event = |columns: &str| {
        let event = Event::builder("public", "accounts", Operation::Insert).key(1);
        let event = event.columns_json(columns).build();
        Inserted::<Account>::from_event(&event).unwrap().unwrap()
    };
    let row = event(r#"{"fullName":"Ada","email":"a@b"}"#).row().unwrap();
    assert_eq!((row.id, row.address.as_deref()), (1, Some("a@b")));
    let row = event(r#"{"fullName":"Ada","mail":null}"#).row().unwrap();
    assert_eq!(row.address, None);
    let missing = event(r#"{"fullName":"Ada"}"#).row().unwrap_err();
    let cause = missing.source().unwrap().to_string();
    assert_eq!(cause, "the event has no column \"mail\"");
}

#[test]
fn a_row_that_consists_of_its_key_may_have_aliases() {
    #[derive(Debug, Deserialize, Table)]
    #[table(name = "numbers", key = "n")]
    struct Number {
        #[serde(alias = "number")]
        n: i64,
    }

    let event = Event::builder("public", "numbers", Operation::Insert);
    let event = event.key(7).build();
    let inserted = Inserted::<Number>::from_event(&event).unwrap().unwrap();
    assert_eq!(inserted.row().unwrap().n, 7);
}
