//! Random values: an event and a driver return the same value for a row.

use std::fmt::Debug;

use chrono::{DateTime, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Utc};
use fastrand::Rng;
use pgherald_core::{Event, Operation, RowKey};
use rust_decimal::Decimal;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio_postgres::types::{FromSqlOwned, ToSql};
use uuid::Uuid;

use crate::support::{Row, Scene};

/// The seed of the random values. `PGHERALD_SEED=7 cargo test --test types` tries others.
fn seed() -> u64 {
    let seed = std::env::var("PGHERALD_SEED");
    seed.map_or(20_261_129, |seed| seed.parse().unwrap())
}

/// Number of values per type.
const VALUES: i32 = 40;

const MICROS_OF_A_DAY: i64 = 86_400_000_000;

fn text(rng: &mut Rng) -> String {
    const CHARS: [char; 20] = [
        'a', 'B', '7', ' ', ',', ';', '"', '\'', '\\', '{', '}', '(', ')', '[', ':', '\n', 'é',
        '✓', '\u{1}', 'N',
    ];
    match rng.u8(0..8) {
        0 => "NULL".to_owned(),
        1 => String::new(),
        _ => (0..rng.usize(0..12))
            .map(|_| CHARS[rng.usize(0..CHARS.len())])
            .collect(),
    }
}

fn integer(rng: &mut Rng) -> i64 {
    match rng.u8(0..6) {
        0 => i64::MIN,
        1 => i64::MAX,
        2 => rng.i64(-9..9),
        _ => rng.i64(..),
    }
}

fn float(rng: &mut Rng) -> f64 {
    match rng.u8(0..8) {
        0 => f64::NAN,
        1 => f64::INFINITY,
        2 => f64::NEG_INFINITY,
        3 => -0.0,
        4 => rng.f64(),
        _ => f64::from_bits(rng.u64(..)),
    }
}

fn json(rng: &mut Rng, depth: u32) -> Value {
    match rng.u8(0..if depth == 0 { 5 } else { 7 }) {
        0 => Value::Null,
        1 => Value::Bool(rng.bool()),
        2 => integer(rng).into(),
        3 => (rng.f64() * 1e9).into(),
        4 => text(rng).into(),
        5 => (0..rng.u8(0..4)).map(|_| json(rng, depth - 1)).collect(),
        _ => {
            let entries = (0..rng.u8(0..4)).map(|_| (text(rng), json(rng, depth - 1)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
    }
}

/// A day from 4700 BC to the year 200,000.
fn day(rng: &mut Rng) -> NaiveDate {
    let first = NaiveDate::from_ymd_opt(-4_699, 1, 1).unwrap();
    first
        .checked_add_days(Days::new(rng.u64(0..74_000_000)))
        .unwrap()
}

fn time(rng: &mut Rng) -> NaiveTime {
    let micros = match rng.bool() {
        true => rng.i64(0..MICROS_OF_A_DAY),
        false => rng.i64(0..86_400) * 1_000_000,
    };
    NaiveTime::MIN + TimeDelta::microseconds(micros)
}

fn decimal(rng: &mut Rng) -> Decimal {
    let mantissa = rng.i128(..) >> rng.u32(32..128);
    Decimal::from_i128_with_scale(mantissa, rng.u32(0..=28))
}

fn read<T: DeserializeOwned>(event: &Event, is_new: bool) -> T {
    let row = match is_new {
        true => event.columns::<Row<T>>(),
        false => event.old_columns::<Row<T>>(),
    };
    match row {
        Ok(row) => row.unwrap().v,
        Err(error) => panic!(
            "{error}: {:?}, {event:?}",
            std::error::Error::source(&error)
        ),
    }
}

fn table_of(type_name: &str) -> String {
    type_name.replace(' ', "_").replace("[]", "_array")
}

struct Checker {
    scene: Scene,
    rng: Rng,
}

impl Checker {
    /// Writes values of `type_name`, and compares the events' values with the driver's.
    async fn values<T>(&mut self, type_name: &str, value: impl Fn(&mut Rng) -> T)
    where
        T: ToSql + FromSqlOwned + DeserializeOwned + Debug + Sync,
    {
        let name = table_of(type_name);
        for mode in ["n", "r"] {
            let client = &self.scene.client;
            let insert = format!("INSERT INTO {mode}_{name} VALUES ($1, $2)");
            let insert = client.prepare(&insert).await.unwrap();
            for id in 0..VALUES {
                let value = value(&mut self.rng);
                client.execute(&insert, &[&id, &value]).await.unwrap();
            }
            let select = format!("SELECT v FROM {mode}_{name} ORDER BY id");
            let before = client.query(&select, &[]).await.unwrap();
            let update = format!("UPDATE {mode}_{name} SET v = $2 WHERE id = $1");
            let update = client.prepare(&update).await.unwrap();
            for id in 0..VALUES {
                let value = value(&mut self.rng);
                client.execute(&update, &[&id, &value]).await.unwrap();
            }
            let after = client.query(&select, &[]).await.unwrap();
            let (announced, recorded) = self.scene.events().await;
            let events = if mode == "n" { announced } else { recorded };
            assert_eq!(events.len(), 2 * before.len(), "{type_name}");
            for event in &events {
                let id =
                    (0..VALUES).position(|id| event.key() == Some(&RowKey::from(i64::from(id))));
                let (before, after) = (&before[id.unwrap()], &after[id.unwrap()]);
                let is_insert = event.operation() == Operation::Insert;
                let expected: T = if is_insert { before } else { after }.get(0);
                // Compared by their debug representation, because NaN does not equal itself.
                let [expected, found] = [expected, read(event, true)].map(|it| format!("{it:?}"));
                assert_eq!(found, expected, "{event:?}");
                if mode == "r" && !is_insert {
                    let [expected, found] =
                        [before.get::<_, T>(0), read(event, false)].map(|it| format!("{it:?}"));
                    assert_eq!(found, expected, "before {event:?}");
                }
            }
        }
    }

    /// Checks values of a type with nulls among them, and arrays of these.
    async fn all<T>(&mut self, type_name: &str, value: impl Fn(&mut Rng) -> T)
    where
        T: ToSql + FromSqlOwned + DeserializeOwned + Debug + Sync,
    {
        let optional = |rng: &mut Rng| (rng.u8(0..5) > 0).then(|| value(rng));
        self.values(type_name, optional).await;
        let list = |rng: &mut Rng| (0..rng.u8(0..5)).map(|_| optional(rng)).collect::<Vec<_>>();
        self.values(&format!("{type_name}[]"), list).await;
    }
}

#[tokio::test]
async fn events_and_drivers_return_the_same_values() {
    const TYPES: [&str; 16] = [
        "smallint",
        "integer",
        "bigint",
        "boolean",
        "real",
        "double precision",
        "numeric",
        "text",
        "bytea",
        "uuid",
        "json",
        "jsonb",
        "date",
        "time",
        "timestamp",
        "timestamptz",
    ];
    let (mut sql, mut notified, mut recorded) = (String::new(), Vec::new(), Vec::new());
    for type_name in TYPES {
        for type_name in [type_name.to_owned(), format!("{type_name}[]")] {
            let name = table_of(&type_name);
            for (mode, names) in [("n", &mut notified), ("r", &mut recorded)] {
                let name = format!("{mode}_{name}");
                sql += &format!("CREATE TABLE {name} (id int PRIMARY KEY, v {type_name});");
                names.push(name);
            }
        }
    }
    let scene = Scene::new(&sql, &notified, &recorded).await;
    let rng = Rng::with_seed(seed());
    let mut checker = Checker { scene, rng };
    checker.all("smallint", |rng| rng.i16(..)).await;
    checker.all("integer", |rng| rng.i32(..)).await;
    checker.all("bigint", integer).await;
    checker.all("boolean", Rng::bool).await;
    checker
        .all("real", |rng| match rng.bool() {
            true => f32::from_bits(rng.u32(..)),
            false => rng.f32(),
        })
        .await;
    checker.all("double precision", float).await;
    checker.all("numeric", decimal).await;
    checker.all("text", text).await;
    let bytes = |rng: &mut Rng| (0..rng.u8(0..9)).map(|_| rng.u8(..)).collect::<Vec<_>>();
    checker.all("bytea", bytes).await;
    checker
        .all("uuid", |rng| Uuid::from_u128(rng.u128(..)))
        .await;
    // Without null, because `Option` does not distinguish JSON's null from SQL's.
    for name in ["json", "jsonb"] {
        checker.values(name, |rng| json(rng, 3)).await;
        let list = |rng: &mut Rng| (0..rng.u8(0..4)).map(|_| json(rng, 2)).collect::<Vec<_>>();
        checker.values(&format!("{name}[]"), list).await;
    }
    checker.all("date", day).await;
    checker.all("time", time).await;
    let at = |rng: &mut Rng| NaiveDateTime::new(day(rng), time(rng));
    checker.all("timestamp", at).await;
    checker
        .all("timestamptz", |rng| {
            DateTime::<Utc>::from_naive_utc_and_offset(at(rng), Utc)
        })
        .await;
}
