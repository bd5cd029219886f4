//! The metrics that a listener, a cache and handlers emit.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use pgherald::group::{Consumer, Group};
use pgherald::outbox;
use pgherald::telemetry::{self, METRICS, MetricKind};
use pgherald::trigger::{self, TriggerSpec};
use pgherald::{
    Attempt, Backoff, CacheBuilder, ConnectConfig, DurableOptions, EphemeralOptions, Event,
    EventHandler, HandlerError, HandlerResult, Herald, RetryPolicy, TableName,
};
use pgherald_testkit::Postgres;
use tokio_postgres::Client;

const DEADLINE: Duration = Duration::from_secs(60);

/// The recorder of this process.
fn recorder() -> &'static Snapshotter {
    static SNAPSHOTTER: OnceLock<Snapshotter> = OnceLock::new();
    SNAPSHOTTER.get_or_init(|| {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        recorder.install().unwrap();
        telemetry::describe();
        snapshotter
    })
}

/// All recorded metrics, by name and labels. A snapshot has the changes since the one before, of gauges as well.
#[derive(Default)]
struct Recorded(BTreeMap<(String, BTreeMap<String, String>), f64>);

impl Recorded {
    fn take(&mut self) {
        for (key, _, _, value) in recorder().snapshot().into_vec() {
            let key = key.key();
            let labels = key.labels();
            let labels = labels.map(|label| (label.key().to_owned(), label.value().to_owned()));
            let entry = self.0.entry((key.name().to_owned(), labels.collect()));
            let entry = entry.or_default();
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            match value {
                DebugValue::Counter(count) => *entry += count as f64,
                DebugValue::Gauge(change) => *entry += change.0,
                DebugValue::Histogram(values) => *entry += values.len() as f64,
            }
        }
    }

    /// The sum of the metrics with this name and these labels.
    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let is_one = |found: &BTreeMap<String, String>| {
            let mut labels = labels.iter();
            labels.all(|(label, value)| found.get(*label).is_some_and(|found| found == value))
        };
        let all = self.0.iter();
        all.filter(|((found, labels), _)| found == name && is_one(labels))
            .map(|(_, value)| value)
            .sum()
    }

    async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let began = std::time::Instant::now();
        loop {
            self.take();
            if holds(self) {
                return;
            }
            assert!(began.elapsed() < DEADLINE, "{what}: {:#?}", self.0);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Fails depending on the row's value.
struct Moody;

impl EventHandler for Moody {
    type Event = Event;

    async fn handle(&self, event: Event, attempt: Attempt) -> HandlerResult {
        let row: BTreeMap<String, String> = event.columns()?.unwrap_or_default();
        match (row.get("mood").map(String::as_str), attempt.number()) {
            (Some("fails"), 1) => Err("not now".into()),
            (Some("panics"), 1) => panic!("on purpose"),
            (Some("hangs"), 1) => std::future::pending().await,
            (Some("snoozes"), 1) if !SNOOZED.replace(true) => {
                Err(HandlerError::snooze(Duration::from_millis(1)))
            }
            (Some("never"), _) => Err(HandlerError::permanent("never")),
            _ => Ok(()),
        }
    }
}

thread_local! {
    static SNOOZED: Cell<bool> = const { Cell::new(false) };
}

async fn table(client: &Client, spec: &TriggerSpec) {
    let sql = format!(
        "CREATE TABLE {} (id bigint PRIMARY KEY, mood text)",
        spec.table()
    );
    client.batch_execute(&sql).await.unwrap();
    let plan = trigger::plan(client, std::slice::from_ref(spec))
        .await
        .unwrap();
    plan.apply(client).await.unwrap();
}

fn spec(name: &str) -> TriggerSpec {
    TriggerSpec::new(TableName::new("public", name).unwrap()).columns(["mood"])
}

fn retries() -> RetryPolicy {
    RetryPolicy::new(
        3,
        Backoff::new(Duration::from_millis(1), Duration::from_millis(5)),
    )
}

const MOODS: &str =
    "(1, 'well'), (2, 'fails'), (3, 'panics'), (4, 'hangs'), (5, 'snoozes'), (6, 'never')";

#[actix::test]
async fn every_metric_is_recorded_with_the_labels_that_are_documented() {
    recorder();
    let mut recorded = Recorded::default();
    let server = Postgres::start().await.unwrap();
    let url = server.create_database().await.unwrap();
    let config: ConnectConfig = url.parse().unwrap();
    let client = Arc::new(config.client().await.unwrap());
    table(&client, &spec("moods")).await;
    table(&client, &spec("kept").outbox()).await;
    let herald = Herald::builder(config.clone())
        .watch_with(spec("moods"))
        .latency_warning(Some(Duration::ZERO))
        .start()
        .await
        .unwrap();
    let moods = TableName::new("public", "moods").unwrap();
    let cache = CacheBuilder::<i64, i64>::new("moods")
        .table(moods)
        .load_timeout(Duration::from_millis(50))
        .weigher(|_, _| 8)
        .capacity_bytes(800)
        .capacity(100);
    let cache = herald.start_cache(cache).await.unwrap();
    let ephemeral = EphemeralOptions::new("ephemeral")
        .retry(retries())
        .timeout(Duration::from_millis(200));
    herald.start_handler(ephemeral, || Moody).await.unwrap();
    herald.live().await.unwrap();

    // The listener, a subscription and the ephemeral handler.
    client
        .batch_execute(&format!("INSERT INTO moods VALUES {MOODS}"))
        .await
        .unwrap();
    recorded
        .until("5 handled, 1 given up", |recorded| {
            recorded.sum(
                "pgherald_handler_attempts_total",
                &[("handler", "ephemeral"), ("result", "done")],
            ) >= 6.0
                && recorded.sum("pgherald_events_dropped_total", &[]) >= 1.0
        })
        .await;
    let of = |recorded: &Recorded, name: &str, result: &str| {
        let labels = [("handler", name), ("result", result)];
        recorded.sum("pgherald_handler_attempts_total", &labels)
    };
    // `done` includes the initial resync.
    let results = ["done", "error", "panic", "timeout", "snoozed", "fenced"];
    let counted = results.map(|result| of(&recorded, "ephemeral", result));
    assert_eq!(counted, [6.0, 2.0, 1.0, 1.0, 1.0, 0.0]);
    let dropped = [
        ("subscriber", "ephemeral"),
        ("reason", "error"),
        ("intentional", "false"),
    ];
    assert_eq!(recorded.sum("pgherald_events_dropped_total", &dropped), 1.0);
    assert_eq!(recorded.sum("pgherald_listener_events_total", &[]), 6.0);
    assert_eq!(recorded.sum("pgherald_event_latency_seconds", &[]), 6.0);
    assert_eq!(
        recorded.sum(
            "pgherald_handler_delay_seconds",
            &[("handler", "ephemeral")]
        ),
        5.0
    );
    assert_eq!(
        recorded.sum(
            "pgherald_handler_attempt_seconds",
            &[("handler", "ephemeral")]
        ),
        11.0
    );
    let delivered = [("subscription", "ephemeral"), ("result", "delivered")];
    assert_eq!(
        recorded.sum("pgherald_subscription_events_total", &delivered),
        6.0
    );

    // The cache, which emits its counts once a second.
    for _ in 0..10 {
        cache
            .get_or_load(7, async || Ok::<_, std::io::Error>(7))
            .await
            .unwrap();
    }
    let hangs = cache.get_or_load(8, async || {
        std::future::pending::<std::io::Result<i64>>().await
    });
    assert!(hangs.await.is_err());
    recorded
        .until("the weight, and a load that timed out", |recorded| {
            recorded.sum("pgherald_cache_bytes", &[]) == 8.0
                && recorded.sum("pgherald_cache_capacity_bytes", &[]) == 800.0
                && recorded.sum("pgherald_cache_loads_timed_out_total", &[]) == 1.0
        })
        .await;
    cache.invalidate_all();
    recorded
        .until("freed values", |recorded| {
            recorded.sum("pgherald_cache_freed_total", &[]) == 1.0
                && recorded.sum("pgherald_cache_bytes", &[]) == 0.0
        })
        .await;
    cache
        .get_or_load(7, async || Ok::<_, std::io::Error>(7))
        .await
        .unwrap();
    cache.invalidate(&7);
    recorded
        .until("hits", |recorded| {
            recorded.sum("pgherald_cache_reads_total", &[("result", "hit")]) >= 9.0
                && recorded.sum(
                    "pgherald_cache_invalidations_total",
                    &[("cause", "by_hand")],
                ) >= 1.0
        })
        .await;
    assert_eq!(
        recorded.sum("pgherald_cache_reads_total", &[("result", "miss")]),
        3.0
    );
    assert_eq!(recorded.sum("pgherald_cache_capacity", &[]), 100.0);
    assert_eq!(
        recorded.sum("pgherald_cache_load_seconds", &[("cache", "moods")]),
        3.0
    );
    assert_eq!(
        recorded.sum("pgherald_cache_flushes_total", &[("cause", "event")]),
        6.0
    );

    // A durable handler, and the state of its group.
    client
        .batch_execute(&format!("INSERT INTO kept VALUES {MOODS}"))
        .await
        .unwrap();
    let options = DurableOptions::new("durable")
        .from_beginning()
        .retry(retries());
    let options = options.timeout(Duration::from_millis(200)).slices(4);
    let (handle, consumer) = Consumer::new(config.clone(), options, || Moody).unwrap();
    SNOOZED.set(false);
    tokio::task::spawn_local(consumer.run());
    recorded
        .until("5 handled, 1 dead letter", |recorded| {
            of(recorded, "durable", "done") >= 5.0
                && recorded.sum("pgherald_handler_dead_letters_total", &[]) >= 1.0
                && recorded.sum("pgherald_group_slices", &[("group", "durable")]) == 4.0
                && recorded.sum("pgherald_group_parked_rows", &[]) == 0.0
                && recorded.sum("pgherald_handler_unfinished_events", &[]) == 0.0
        })
        .await;
    let counted = results.map(|result| of(&recorded, "durable", result));
    assert_eq!(counted, [5.0, 2.0, 1.0, 1.0, 1.0, 0.0]);
    let durable = [("handler", "durable")];
    assert_eq!(
        recorded.sum("pgherald_handler_delay_seconds", &durable),
        5.0
    );
    assert_eq!(
        recorded.sum("pgherald_handler_attempt_seconds", &durable),
        10.0
    );
    let status = loop {
        let status = Group::new(&client, "durable").status().await.unwrap();
        if status.dead_letters == 1 && status.lag_events == 0 {
            break status;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    status.record();
    outbox::status(&client).await.unwrap().record();
    recorded.take();
    assert_eq!(
        recorded.sum("pgherald_group_dead_letters", &[("group", "durable")]),
        1.0
    );
    assert_eq!(
        recorded.sum("pgherald_group_nodes", &[("group", "durable")]),
        1.0
    );
    for name in ["pgherald_consumers", "pgherald_consumers_live"] {
        assert_eq!(recorded.sum(name, &[("group", "durable")]), 1.0, "{name}");
    }

    // The server stops and starts again.
    assert_eq!(recorded.sum("pgherald_listeners_live", &[]), 1.0);
    server.stop().await.unwrap();
    recorded
        .until("not live", |recorded| {
            recorded.sum("pgherald_listeners_live", &[]) == 0.0
                && recorded.sum("pgherald_consumers_live", &[]) == 0.0
                && recorded.sum("pgherald_listener_failed_attempts_total", &[]) >= 1.0
        })
        .await;
    server.start_again().await.unwrap();
    recorded
        .until("live again", |recorded| {
            recorded.sum("pgherald_listeners_live", &[]) == 1.0
                && recorded.sum(
                    "pgherald_listener_resyncs_total",
                    &[("reason", "reconnected")],
                ) >= 1.0
        })
        .await;

    // Gauges of ended instances are zero.
    handle.drain(DEADLINE).await;
    herald.shutdown(DEADLINE).await.unwrap();
    drop(cache);
    recorded
        .until("nothing left", |recorded| {
            let gauges = [
                "pgherald_listeners",
                "pgherald_listeners_live",
                "pgherald_consumers",
                "pgherald_consumers_live",
                "pgherald_group_slices",
                "pgherald_cache_entries",
                "pgherald_cache_capacity",
                "pgherald_cache_bytes",
                "pgherald_cache_capacity_bytes",
                "pgherald_subscription_queued_events",
                "pgherald_handler_unfinished_events",
            ];
            gauges.iter().all(|gauge| recorded.sum(gauge, &[]) == 0.0)
        })
        .await;

    let known: BTreeMap<_, _> = METRICS.iter().map(|metric| (metric.name, metric)).collect();
    assert_eq!(known.len(), METRICS.len(), "a name is listed twice");
    let ours = recorded
        .0
        .keys()
        .filter(|(name, _)| name.starts_with("pgherald"));
    for (name, labels) in ours.clone() {
        let metric = known
            .get(name.as_str())
            .unwrap_or_else(|| panic!("{name} is not listed"));
        let found: BTreeSet<&str> = labels.keys().map(String::as_str).collect();
        let listed: BTreeSet<&str> = metric.labels.iter().copied().collect();
        assert_eq!(found, listed, "{name}");
    }
    let seen: BTreeSet<&str> = ours.map(|(name, _)| name.as_str()).collect();
    let unseen: Vec<_> = known.keys().filter(|name| !seen.contains(*name)).collect();
    assert!(unseen.is_empty(), "listed and never recorded: {unseen:?}");
}

#[test]
fn names_follow_their_kinds_and_units() {
    for metric in METRICS {
        assert!(metric.name.starts_with("pgherald_"), "{metric:?}");
        let is_counter = metric.kind == MetricKind::Counter;
        assert_eq!(metric.name.ends_with("_total"), is_counter, "{metric:?}");
        assert_eq!(
            metric.name.ends_with("_seconds"),
            metric.unit == "seconds",
            "{metric:?}"
        );
        assert_eq!(
            metric.name.ends_with("_bytes"),
            metric.unit == "bytes",
            "{metric:?}"
        );
        assert!(
            !metric.help.is_empty() && !metric.help.ends_with('.'),
            "{metric:?}"
        );
    }
}
