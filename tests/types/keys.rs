//! Key types of optional features, compared with events and with the database.

use std::fmt::Debug;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use pgherald_core::trigger::TriggerSpec;
use pgherald_core::{Key, TableName};
use uuid::Uuid;

use crate::support::Scene;

/// Inserts rows with keys of a type, and compares the keys of their events with the values of a Rust type.
async fn check<K: Key + PartialEq + Debug>(type_name: &str, keys: &[(&str, K)]) {
    let mut scene = Scene::new(
        &format!("CREATE TABLE t (k {type_name} PRIMARY KEY)"),
        &[],
        &[],
    )
    .await;
    let spec = TriggerSpec::new(TableName::new("public", "t").unwrap());
    scene.install(&[spec]).await;
    for (literal, key) in keys {
        scene
            .run(&format!("INSERT INTO t VALUES ('{literal}')"))
            .await;
        let (events, _) = scene.events().await;
        let found = events[0].key().unwrap();
        assert_eq!(
            K::from_row_key(found).as_ref(),
            Some(key),
            "{type_name} {literal}"
        );
        assert_eq!(&key.to_row_key(), found, "{type_name} {literal}");
    }
    let bad = [
        "",
        "infinity",
        "2026-13-01",
        "25:00:00",
        "2026-11-29 01:02:03.1234567",
        "a-b-c",
        "1:2",
    ];
    for bad in bad {
        assert_eq!(K::from_row_key(&bad.into()), None, "{type_name} {bad:?}");
    }
}

#[tokio::test]
async fn uuids_dates_and_times_are_keys() {
    let id = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    check::<Uuid>(
        "uuid",
        &[("A0EEBC999C0B4EF8BB6D6BB9BD380A11", id.parse().unwrap())],
    )
    .await;

    let days = ["2026-11-29", "0001-01-01", "0044-03-15 BC", "12026-01-31"];
    let chrono = ["2026-11-29", "0001-01-01", "-0043-03-15", "+12026-01-31"];
    let date = |index: usize| -> NaiveDate { chrono[index].parse().unwrap() };
    check(
        "date",
        &[0, 1, 2, 3].map(|index| (days[index], date(index))),
    )
    .await;
    let jiff = ["2026-11-29", "0001-01-01", "-000043-03-15"];
    let date = |index: usize| -> jiff::civil::Date { jiff[index].parse().unwrap() };
    check("date", &[0, 1, 2].map(|index| (days[index], date(index)))).await;
    check(
        "date",
        &[
            (days[0], time::macros::date!(2026 - 11 - 29)),
            (days[2], time::macros::date!(-0043 - 03 - 15)),
        ],
    )
    .await;

    let clocks = [
        "01:02:03",
        "23:59:59.999999",
        "00:00:00.1",
        "10:20:30.00002",
    ];
    check(
        "time",
        &clocks.map(|clock| (clock, clock.parse::<NaiveTime>().unwrap())),
    )
    .await;
    check(
        "time",
        &clocks.map(|clock| (clock, clock.parse::<jiff::civil::Time>().unwrap())),
    )
    .await;
    check("time", &[(clocks[2], time::macros::time!(00:00:00.1))]).await;

    let at = "2026-11-29 01:02:03.5";
    let before = "0044-03-15 12:00:00 BC";
    let iso = at.replace(' ', "T");
    let local: NaiveDateTime = iso.parse().unwrap();
    let early = NaiveDate::from_ymd_opt(-43, 3, 15)
        .unwrap()
        .and_time(NaiveTime::from_hms_opt(12, 0, 0).unwrap());
    check("timestamp", &[(at, local), (before, early)]).await;
    check(
        "timestamp",
        &[(at, iso.parse::<jiff::civil::DateTime>().unwrap())],
    )
    .await;
    check(
        "timestamp",
        &[(at, time::macros::datetime!(2026-11-29 01:02:03.5))],
    )
    .await;

    let zoned = format!("{at}+00");
    let east = "2026-11-29 03:02:03.5+02";
    check::<DateTime<Utc>>(
        "timestamptz",
        &[
            (east, local.and_utc()),
            ("0044-03-15 12:00:00+00 BC", early.and_utc()),
        ],
    )
    .await;
    check(
        "timestamptz",
        &[(
            &*zoned,
            format!("{iso}Z").parse::<jiff::Timestamp>().unwrap(),
        )],
    )
    .await;
    check(
        "timestamptz",
        &[(east, time::macros::datetime!(2026-11-29 01:02:03.5 UTC))],
    )
    .await;
}
