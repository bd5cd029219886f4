//! Repeated log lines are limited and summed up, and a lost connection is logged once.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pgherald::trigger::TriggerSpec;
use pgherald::{Herald, TableName};
use pgherald_core::{Attempt, Event, EventHandler, HandlerError, HandlerResult};
use pgherald_testkit::Postgres;
use tracing::Level;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{Layer, Registry};

use crate::support::{LIMIT, Log, Scene, drained, local, options, report, until};

/// A line of the log.
#[derive(Clone, Debug)]
struct Line {
    level: Level,
    message: String,
    count: Option<u64>,
}

/// The log of pgherald on this thread.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<Line>>>);

impl Lines {
    fn all(&self) -> Vec<Line> {
        self.0.lock().unwrap().clone()
    }

    fn with(&self, message: &str) -> Vec<Line> {
        let mut lines = self.all();
        lines.retain(|line| line.message == message);
        lines
    }
}

impl<S: tracing::Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if metadata.target().starts_with("pgherald") {
            let mut line = Line {
                level: *metadata.level(),
                message: String::new(),
                count: None,
            };
            event.record(&mut line);
            self.0.lock().unwrap().push(line);
        }
    }
}

impl Visit for Line {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "count" {
            self.count = Some(value);
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record_u64(field, value.unsigned_abs());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }
}

#[tokio::test]
async fn failed_attempts_are_logged_once_and_summed_up() {
    let lines = Lines::default();
    let _other = second_dispatcher();
    let _guard = tracing::subscriber::set_default(Registry::default().with(lines.clone()));
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let handle = scene.start(options("g"), &log, Box::new(|_, _| Err("no answer".into())));
        scene
            .run("INSERT INTO jobs SELECT n, 0 FROM generate_series(1, 300) AS n")
            .await;
        report(&handle, "300 dead letters", |report| {
            report.dead_letters == 300
        })
        .await;
        drained(&handle).await;
    })
    .await;
    // Each of the 300 events had three attempts.
    for (first, more, expected) in [
        (
            "attempt failed, trying again",
            "more attempts failed, trying again",
            600,
        ),
        ("dead letter", "more dead letters", 300),
    ] {
        let (first, more) = (lines.with(first), lines.with(more));
        assert!(!more.is_empty(), "no summary: {first:#?}");
        // One full line and one summary per interval.
        assert!(first.len() <= more.len() + 1, "{first:#?} {more:#?}");
        let summed: u64 = more.iter().filter_map(|line| line.count).sum();
        assert_eq!(
            first.len() as u64 + summed,
            expected,
            "{first:#?} {more:#?}"
        );
    }
}

/// Keeps a test in another thread from disabling lines. While tracing knows only one dispatcher, the thread that reaches a line
/// first decides, by its default dispatcher, whether the line is enabled for all threads.
fn second_dispatcher() -> tracing::Dispatch {
    tracing::Dispatch::new(Registry::default())
}

struct Nothing;

impl EventHandler for Nothing {
    type Event = Event;

    async fn handle(&self, _: Event, _: Attempt) -> HandlerResult {
        Err(HandlerError::permanent("nothing is handled here"))
    }
}

#[actix::test]
async fn a_lost_connection_is_one_warning_of_the_listener_and_one_of_the_consumer() {
    let server = Postgres::start().await.unwrap();
    let scene = Scene::at(server.create_database().await.unwrap()).await;
    let lines = Lines::default();
    let _other = second_dispatcher();
    let _guard = tracing::subscriber::set_default(Registry::default().with(lines.clone()));
    let jobs = TableName::new("public", "jobs").unwrap();
    let herald = Herald::builder(scene.config())
        .watch_with(TriggerSpec::new(jobs).every_column().outbox())
        // Other threads do not log to this test's subscriber.
        .on_current_arbiter()
        .start()
        .await
        .unwrap();
    herald
        .start_durable(options("g"), || Nothing)
        .await
        .unwrap();
    let has = async |message: &str, count: usize| {
        let is = || lines.with(message).len() >= count;
        until(message, is, || format!("{:#?}", lines.all())).await;
    };
    has("listener live", 1).await;
    has("consumer live", 1).await;

    server.stop().await.unwrap();
    has("listener still not live", 3).await;
    has("consumer still not live", 3).await;
    server.start_again().await.unwrap();
    has("listener live", 2).await;
    has("consumer live", 2).await;
    herald
        .shutdown(LIMIT.min(Duration::from_secs(60)))
        .await
        .unwrap();

    let mut warnings = lines.all();
    warnings.retain(|line| line.level <= Level::WARN);
    let mut messages: Vec<&str> = warnings.iter().map(|line| &*line.message).collect();
    messages.sort_unstable();
    let expected = ["consumer no longer live", "listener no longer live"];
    assert_eq!(messages, expected, "{warnings:#?}");
}
