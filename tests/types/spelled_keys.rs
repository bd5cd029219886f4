//! Keys whose values have several spellings: a cache either reads all of them as one key, or is rejected by name.

use std::fmt::Debug;
use std::hash::Hash;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::time::Instant;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use pgherald_core::__private::host::cache::Drive;
use pgherald_core::__private::host::events::Router;
use pgherald_core::trigger::TriggerSpec;
use pgherald_core::{
    CacheBuilder, CacheDriver, CacheHandle, CaselessText, Event, Filter, Key, KeyColumn, KeyPart,
    MacAddress, PaddedText, Resync, ResyncReason, Signal, Subscription, Table, TableName,
};
use rust_decimal::Decimal;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::support::Scene;

/// The table `t` with the key `k` of type `K`.
struct Keyed<K>(PhantomData<K>);

impl<K: Key + 'static> Table for Keyed<K> {
    const NAME: &'static str = "t";
    const KEY: &'static [&'static str] = &["k"];
    type Key = K;
}

trait CachedKey: Key + Clone + Eq + Hash + Debug + Send + Sync + 'static {}
impl<K: Key + Clone + Eq + Hash + Debug + Send + Sync + 'static> CachedKey for K {}

/// A cache of the table `t`, and a driver that applies events to it.
struct Cache<K: CachedKey> {
    handle: CacheHandle<K, &'static str>,
    driver: CacheDriver<K, &'static str>,
    router: Router,
    subscription: Subscription,
}

impl<K: CachedKey> Cache<K> {
    async fn live(builder: CacheBuilder<K, &'static str>) -> Self {
        let (handle, driver) = builder.build().unwrap();
        let mut router = Router::new();
        let filter: Filter = driver.filter();
        let subscription = router.subscribe(filter, driver.subscription()).unwrap();
        let mut cache = Self {
            handle,
            driver,
            router,
            subscription,
        };
        cache
            .apply(&[Signal::Resync(Resync::new(ResyncReason::Started))])
            .await;
        cache.router.publish(&Signal::Live);
        assert!(cache.handle.is_live());
        cache
    }

    async fn apply(&mut self, signals: &[Signal]) {
        for signal in signals {
            self.router.publish(signal);
        }
        // The subscription of a rejected cache has ended.
        if let Some(delivery) = self.subscription.recv().await {
            self.driver.apply(&delivery, Instant::now());
        }
    }

    async fn apply_events(&mut self, events: Vec<Event>) {
        self.apply(&[Signal::Events(events.into())]).await;
    }

    fn fill(&self, key: &K) {
        let stamp = self.handle.stamp();
        assert!(self.handle.insert(&stamp, key.clone(), "old"));
    }
}

fn row_of<K: CachedKey>() -> CacheBuilder<K, &'static str> {
    CacheBuilder::new("cache").row_of::<Keyed<K>>()
}

/// A table `t` whose key has the type `of`, in the given mode.
async fn scene(before: &str, of: &str, is_outbox: bool) -> Scene {
    let sql = format!("{before}; CREATE TABLE t (k {of} PRIMARY KEY, v int)");
    let scene = Scene::new(&sql, &[], &[]).await;
    let spec = TriggerSpec::new(TableName::new("public", "t").unwrap());
    let spec = if is_outbox { spec.outbox() } else { spec };
    scene.install(&[spec]).await;
    scene
}

async fn changes(scene: &mut Scene) -> Vec<Event> {
    let (announced, recorded) = scene.events().await;
    if announced.is_empty() {
        recorded
    } else {
        announced
    }
}

const NOCASE: &str =
    "CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)";

const CITEXT: &str = "CREATE EXTENSION citext";

/// Setup statements, a type, a text that is written, another text of the same value, and the type in the error.
type Several = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

const SEVERAL: [Several; 19] = [
    ("", "character(5)", "eu", "eu", "character(n)"),
    ("", "uuid", ID, ID, "uuid"),
    ("", "inet", "10.0.0.1", "10.0.0.1/32", "inet or cidr"),
    ("", "cidr", "10.0.0.1/32", "10.0.0.1", "inet or cidr"),
    (
        "",
        "macaddr",
        "08002b010203",
        "08-00-2B-01-02-03",
        "macaddr",
    ),
    ("", "interval", "24:00:00", "1 day", "interval"),
    ("", "date", "2026-11-29", "29.11.2026", "date"),
    ("", "time", "01:02:03", "1:02:03", "time"),
    (
        "",
        "timetz",
        "01:02:03+00",
        "01:02:03Z",
        "time with time zone",
    ),
    (
        "",
        "timestamp",
        "2026-11-29 01:02",
        "2026-11-29T01:02",
        "timestamp",
    ),
    (
        "",
        "timestamptz",
        "2026-11-29 01:02+00",
        "2026-11-29T01:02Z",
        "timestamp with time zone",
    ),
    ("", "bytea", r"\x61ab", r"a\253", "bytea"),
    ("", "double precision", "1", "1.0", "floating-point"),
    ("", "numeric", "1", "1.0", "numeric"),
    ("", "numeric(10,2)", "1", "1.0", "numeric"),
    ("", "jsonb", "[1]", "[1.0]", "json"),
    ("", "int4range", "[1,3)", "[1,2]", "not known"),
    (
        NOCASE,
        "text COLLATE nocase",
        "eu",
        "EU",
        "nondeterministic",
    ),
    (CITEXT, "citext", "eu", "EU", "citext"),
];

const ID: &str = "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11";

/// Whether the server can run the statements.
async fn is_available(before: &str) -> bool {
    let scene = Scene::new("SELECT", &[], &[]).await;
    before.is_empty() || scene.client.batch_execute(before).await.is_ok()
}

#[tokio::test]
async fn a_string_cache_of_a_type_with_several_texts_per_value_is_rejected() {
    for (number, (before, of, stored, text, described)) in SEVERAL.into_iter().enumerate() {
        if !is_available(before).await {
            continue;
        }
        let mut scene = scene(before, of, number % 2 == 0).await;
        // Dates are written in German style.
        scene
            .run(&format!(
                "SET DateStyle = German; INSERT INTO t VALUES ('{stored}')"
            ))
            .await;
        scene.events().await;

        let key = text.to_owned();
        let mut cache = Cache::live(row_of::<String>()).await;
        let error = cache.driver.check_keys(&scene.client).await;
        let error = error.expect_err(of).to_string();
        assert!(
            error.contains("\"k\" of public.t") && error.contains(described),
            "{of}: {error}"
        );
        assert!(cache.driver.has_keys_to_check());

        cache.fill(&key);
        let updated = scene
            .client
            .execute(&format!("UPDATE t SET v = 1 WHERE k = '{text}'"), &[])
            .await;
        assert_eq!(updated.unwrap(), 1, "{of}: the reader's text names the row");
        let events = changes(&mut scene).await;
        let row_key = events[0].key().unwrap().to_string();
        assert_ne!(row_key, key, "{of}: the event has a different text");
        cache.apply_events(events).await;
        // The cache would otherwise serve the old value for ever.
        assert_eq!(cache.handle.get(&key), None, "{of}");
        assert!(!cache.handle.is_live(), "{of}");
        let refused = cache.handle.refused().unwrap().to_string();
        assert!(
            refused.contains(described) && refused.contains("String"),
            "{of}: {refused}"
        );
        // A new session does not open the cache again.
        cache.router.publish(&Signal::Live);
        cache
            .apply(&[
                Signal::Resync(Resync::new(ResyncReason::Reconnected)),
                Signal::Live,
            ])
            .await;
        assert!(!cache.handle.is_live(), "{of}");
    }
}

#[tokio::test]
async fn caches_with_row_by_and_keys_by_are_rejected_too() {
    let mut scene = scene("", "uuid", false).await;
    scene.run("INSERT INTO t VALUES (gen_random_uuid())").await;
    let events = changes(&mut scene).await;
    let by_row = CacheBuilder::new("cache").row_by::<Keyed<String>>(|key: &i64| key.to_string());
    let by_event = CacheBuilder::<i64, _>::new("cache")
        .keys_by::<Keyed<String>>(|_| pgherald_core::Affected::Keys(vec![1]));
    for builder in [by_row, by_event] {
        let mut cache = Cache::live(builder).await;
        assert!(cache.driver.check_keys(&scene.client).await.is_err());
        cache.apply_events(events.clone()).await;
        assert!(!cache.handle.is_live() && cache.handle.refused().is_some());
    }
    // All keys depend on the whole table, so no key is compared.
    let mut cache =
        Cache::live(CacheBuilder::<String, _>::new("cache").table_of::<Keyed<String>>()).await;
    cache.driver.check_keys(&scene.client).await.unwrap();
    cache.apply_events(events).await;
    assert!(cache.handle.is_live());
}

#[tokio::test]
async fn a_string_cache_follows_types_with_one_text_per_value() {
    let before = "CREATE TYPE mood AS ENUM ('eu'); CREATE DOMAIN code AS varchar(9)";
    for of in ["text", "varchar(5)", "name", "mood", "code", "\"char\""] {
        let mut scene = scene(before, of, false).await;
        scene.run("INSERT INTO t VALUES ('eu')").await;
        let mut cache = Cache::live(row_of::<String>()).await;
        cache.driver.check_keys(&scene.client).await.unwrap();
        let key = if of == "\"char\"" { "e" } else { "eu" }.to_owned();
        cache.fill(&key);
        cache.apply_events(changes(&mut scene).await).await;
        assert!(
            cache.handle.is_live() && cache.handle.refused().is_none(),
            "{of}"
        );
        assert_eq!(cache.handle.get(&key), None, "{of}");
    }
}

/// A user's key type that reads all texts of its column as one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Mac(String);

impl KeyColumn for Mac {
    fn to_part(&self) -> KeyPart {
        self.0.to_part()
    }

    fn from_part(part: &KeyPart) -> Option<Self> {
        let digits = String::from_part(part)?.replace([':', '-', '.'], "");
        Some(Self(digits.to_lowercase()))
    }
}

#[tokio::test]
async fn a_users_key_type_that_normalises_its_text_is_followed() {
    let mut scene = scene("", "macaddr", true).await;
    scene
        .run("INSERT INTO t VALUES ('08-00-2B-01-02-03')")
        .await;
    let mut cache = Cache::live(row_of::<Mac>()).await;
    cache.driver.check_keys(&scene.client).await.unwrap();
    let key = Mac("08002b010203".to_owned());
    cache.fill(&key);
    cache.apply_events(changes(&mut scene).await).await;
    assert!(cache.handle.is_live());
    assert_eq!(cache.handle.get(&key), None);
}

#[tokio::test]
async fn altering_the_type_of_a_key_closes_a_string_cache() {
    let mut scene = scene("", "text", false).await;
    scene.run(&format!("INSERT INTO t VALUES ('{ID}')")).await;
    let mut cache = Cache::live(row_of::<String>()).await;
    cache.apply_events(changes(&mut scene).await).await;
    assert!(cache.handle.is_live());
    scene
        .run("ALTER TABLE t ALTER k TYPE uuid USING k::uuid")
        .await;
    scene
        .install(&[TriggerSpec::new(TableName::new("public", "t").unwrap())])
        .await;
    cache.fill(&ID.to_owned());
    scene.run("UPDATE t SET v = 2").await;
    cache.apply_events(changes(&mut scene).await).await;
    assert!(!cache.handle.is_live() && cache.handle.refused().is_some());
}

/// A cache that is filled by a reader's key follows the event of a row that was written and updated with another text.
async fn follows_spelling<K: CachedKey>(before: &str, of: &str, stored: &str, text: &str, key: K) {
    if !is_available(before).await {
        return;
    }
    for is_outbox in [false, true] {
        let mut scene = scene(before, of, is_outbox).await;
        scene
            .run(&format!("INSERT INTO t VALUES ('{stored}')"))
            .await;
        scene.events().await;
        let mut cache = Cache::live(row_of::<K>()).await;
        cache.driver.check_keys(&scene.client).await.unwrap();
        cache.fill(&key);
        scene
            .run(&format!(
                "SET bytea_output = escape; UPDATE t SET v = 1 WHERE k = '{text}'"
            ))
            .await;
        let events = changes(&mut scene).await;
        assert_eq!(events.len(), 1, "{of}: the text names the row");
        cache.apply_events(events).await;
        assert!(cache.handle.is_live(), "{of}");
        assert_eq!(cache.handle.get(&key), None, "{of} {text}");
        let stats = cache.handle.stats();
        assert_eq!(
            (stats.invalidated_by_event, stats.flushed_by_mismatch),
            (1, 0),
            "{of}"
        );
    }
}

#[tokio::test]
async fn key_types_of_the_library_follow_each_spelling() {
    let mac = |text: &str| text.parse::<MacAddress>().unwrap();
    let (short, long) = ("08-00-2B-01-02-03", "08:00:2b:ff:fe:01:02:03");
    follows_spelling("", "macaddr", short, "0800.2b01.0203", mac("08002b010203")).await;
    follows_spelling("", "macaddr8", short, long, mac(short)).await;
    follows_spelling("", "macaddr8", short, short, mac(long)).await;
    follows_spelling("", "bytea", r"\x61ab", r"a\253", b"a\xab".to_vec()).await;
    let name = CaselessText::new("Ann@Example.org");
    follows_spelling(CITEXT, "citext", "ANN@example.org", "ann@EXAMPLE.org", name).await;
}

#[tokio::test]
async fn a_caseless_key_outside_of_ascii_is_not_cached_and_its_events_flush() {
    if !is_available(CITEXT).await {
        return;
    }
    let mut scene = scene(CITEXT, "citext", false).await;
    let mut cache = Cache::live(row_of::<CaselessText>()).await;
    let stamp = cache.handle.stamp();
    assert!(!cache.handle.insert(&stamp, CaselessText::new("Zoë"), "old"));
    cache.fill(&CaselessText::new("ann"));
    scene.run("INSERT INTO t VALUES ('ZOË')").await;
    cache.apply_events(changes(&mut scene).await).await;
    assert_eq!(cache.handle.stats().flushed_by_mismatch, 1);
    assert_eq!(cache.handle.get(&CaselessText::new("ann")), None);
}

/// Nondeterministic collations ignore more than the case.
#[tokio::test]
async fn a_caseless_key_is_refused_under_a_nondeterministic_collation() {
    if !is_available(NOCASE).await {
        return;
    }
    let scene = scene(NOCASE, "text COLLATE nocase", false).await;
    let are_equal = scene
        .client
        .query_one("SELECT 'eu' COLLATE nocase = E'eu\\u0001'", &[])
        .await;
    assert!(are_equal.unwrap().get::<_, bool>(0));
    let cache = Cache::live(row_of::<CaselessText>()).await;
    let error = cache.driver.check_keys(&scene.client).await.unwrap_err();
    assert!(error.to_string().contains("nondeterministic"), "{error}");
}

/// The column has microseconds. A reader that asks for a nanosecond more finds the row all the same, by the database's rules.
async fn cuts_off<K: CachedKey>(of: &str, stored: &str, coarse: K, fine: K) {
    assert_ne!(coarse, fine);
    let mut scene = scene("", of, false).await;
    scene
        .run(&format!("INSERT INTO t VALUES ('{stored}')"))
        .await;
    scene.events().await;
    let mut cache = Cache::live(row_of::<K>()).await;
    cache.driver.check_keys(&scene.client).await.unwrap();
    let stamp = cache.handle.stamp();
    assert!(!cache.handle.insert(&stamp, fine.clone(), "old"), "{of}");
    let read = cache
        .handle
        .get_or_load(fine.clone(), async || Ok::<_, ()>("old"));
    assert_eq!(*read.await.unwrap(), "old");
    cache.fill(&coarse);
    scene.run("UPDATE t SET v = 1").await;
    cache.apply_events(changes(&mut scene).await).await;
    assert_eq!(cache.handle.get(&coarse), None, "{of}");
    assert_eq!(cache.handle.get(&fine), None, "{of}");
    let read = cache.handle.get_or_load(fine, async || Ok::<_, ()>("new"));
    assert_eq!(
        *read.await.unwrap(),
        "new",
        "{of}: the value is never outdated"
    );
    let stats = cache.handle.stats();
    assert_eq!(
        (stats.invalidated_by_event, stats.bypassed_unmatched_key),
        (1, 2),
        "{of}"
    );
}

#[tokio::test]
async fn keys_of_times_finer_than_microseconds_are_read_past_the_cache() {
    let (day, clock) = ((2026, 11, 29), (1, 2, 3));
    let text = "2026-11-29 01:02:03.000004";
    let time = |nanos| NaiveTime::from_hms_nano_opt(clock.0, clock.1, clock.2, nanos).unwrap();
    cuts_off("time", "01:02:03.000004", time(4_000), time(4_001)).await;
    let local = |nanos| {
        let date = NaiveDate::from_ymd_opt(day.0, day.1, day.2).unwrap();
        NaiveDateTime::new(date, time(nanos))
    };
    cuts_off("timestamp", text, local(4_000), local(4_999)).await;
    let utc = |nanos| local(nanos).and_utc();
    cuts_off("timestamptz", &format!("{text}+00"), utc(4_000), utc(4_001)).await;

    let local = |nanos| jiff::civil::datetime(2026, 11, 29, 1, 2, 3, nanos);
    cuts_off("timestamp", text, local(4_000), local(4_001)).await;
    cuts_off(
        "time",
        "01:02:03.000004",
        local(4_000).time(),
        local(4_001).time(),
    )
    .await;
    let utc = |nanos| {
        local(nanos)
            .to_zoned(jiff::tz::TimeZone::UTC)
            .unwrap()
            .timestamp()
    };
    cuts_off("timestamptz", &format!("{text}+00"), utc(4_000), utc(4_001)).await;

    let time = |nanos| time::Time::from_hms_nano(1, 2, 3, nanos).unwrap();
    cuts_off("time", "01:02:03.000004", time(4_000), time(4_001)).await;
    let date = time::Date::from_calendar_date(2026, time::Month::November, 29).unwrap();
    let local = |nanos| time::PrimitiveDateTime::new(date, time(nanos));
    cuts_off("timestamp", text, local(4_000), local(4_001)).await;
    let utc = |nanos| local(nanos).assume_utc();
    cuts_off("timestamptz", &format!("{text}+00"), utc(4_000), utc(4_001)).await;
}

/// Settings of the writing session that affect texts.
const SETTINGS: [&str; 4] = [
    "RESET ALL",
    "SET DateStyle = 'SQL, DMY'; SET IntervalStyle = postgres_verbose; SET bytea_output = escape; \
     SET extra_float_digits = -15; SET timezone = 'Asia/Kathmandu'",
    "SET DateStyle = German; SET IntervalStyle = sql_standard; SET timezone = 'America/St_Johns'",
    "SET DateStyle = 'Postgres, MDY'; SET extra_float_digits = 3; SET timezone = 'Pacific/Apia'",
];

/// Inserts random values of a type under all settings. The key of each event, the key that the driver of the writing session
/// reads, and the cached key must be the same.
async fn assert_follows<K: CachedKey>(of: &str, random: &str, read: impl Fn(&Row) -> K) {
    for is_outbox in [false, true] {
        let mut scene = scene("", of, is_outbox).await;
        for settings in SETTINGS {
            scene
                .run(&format!(
                    "{settings}; DELETE FROM t; \
                     INSERT INTO t SELECT DISTINCT ON (k) {random} AS k, 0 FROM generate_series(1, 40)"
                ))
                .await;
            scene.events().await;
            let rows = scene.client.query("SELECT k FROM t", &[]).await.unwrap();
            let mut expected: Vec<String> =
                rows.iter().map(|row| format!("{:?}", read(row))).collect();
            let mut cache = Cache::live(row_of::<K>()).await;
            cache.driver.check_keys(&scene.client).await.unwrap();
            for row in &rows {
                cache.fill(&read(row));
            }
            scene.run("UPDATE t SET v = 1").await;
            let events = changes(&mut scene).await;
            let keys = events
                .iter()
                .map(|event| K::from_row_key(event.key().unwrap()));
            let mut keys: Vec<String> = keys.map(|key| format!("{:?}", key.unwrap())).collect();
            expected.sort();
            keys.sort();
            assert_eq!(keys, expected, "{of} {settings}");
            cache.apply_events(events).await;
            assert!(cache.handle.is_live(), "{of}");
            for row in &rows {
                let key = read(row);
                assert_eq!(cache.handle.get(&key), None, "{of} {settings} {key:?}");
            }
            let stats = cache.handle.stats();
            let flushed = stats.flushed_by_mismatch + stats.flushed_by_event;
            assert_eq!(flushed, 0, "{of} {settings}: each event names its row");
        }
    }
}

#[tokio::test]
async fn typed_keys_read_values_of_every_session() {
    let of = |row: &Row| row.get(0);
    assert_follows::<Uuid>("uuid", "gen_random_uuid()", |row| row.get(0)).await;
    assert_follows::<NaiveDate>(
        "date",
        "date '0001-01-01' + (random() * 3000000)::int",
        |row| row.get(0),
    )
    .await;
    assert_follows::<NaiveTime>(
        "time",
        "time '00:00' + random() * interval '23 hours'",
        |row| row.get(0),
    )
    .await;
    let moment = "'1700-01-01 00:00:00'::timestamp + random() * interval '1000 years'";
    assert_follows::<NaiveDateTime>("timestamp", moment, |row| row.get(0)).await;
    let moment = "'1700-01-01 00:00:00+00'::timestamptz + random() * interval '1000 years'";
    assert_follows::<DateTime<Utc>>("timestamptz", moment, |row| row.get(0)).await;
    let number = "round((random() * 1000000 - 500000)::numeric, (random() * 8)::int)";
    assert_follows::<Decimal>("numeric", number, of).await;
    assert_follows::<Decimal>(
        "numeric(12,3)",
        "(random() * 1000000 - 500000)::numeric(12,3)",
        |row| row.get(0),
    )
    .await;
    let host = "CASE WHEN random() < 0.5 THEN inet '10.0.0.0' ELSE inet 'fe80::' END + (random() * 1000000)::int";
    assert_follows::<IpAddr>("inet", host, |row| row.get(0)).await;
    let text = "left(md5(random()::text), (random() * 5)::int)";
    assert_follows::<PaddedText>("character(5)", text, |row| row.get::<_, &str>(0).into()).await;
    assert_follows::<String>("text", text, |row| row.get(0)).await;
    assert_follows::<Vec<u8>>("bytea", "decode(md5(random()::text), 'hex')", |row| {
        row.get(0)
    })
    .await;
    assert_follows::<u64>("bigint", "(random() * 9e18)::bigint", |row| {
        row.get::<_, i64>(0).try_into().unwrap()
    })
    .await;
    assert_follows::<i16>("smallint", "(random() * 60000 - 30000)::smallint", |row| {
        row.get(0)
    })
    .await;
    assert_follows::<u64>(
        "numeric(20)",
        "trunc(random()::numeric * 18446744073709551615)",
        |row| row.get::<_, Decimal>(0).try_into().unwrap(),
    )
    .await;
}
