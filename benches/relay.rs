//! Performance of a relay to NATS JetStream: throughput and processor time next to a handler that does nothing, and the latency of a
//! `NatsSource` next to a direct source. PostgreSQL runs with fsync and synchronous commits. The stream has one replica in a file.
//!
//! `PGHERALD_BACKLOG` sets the number of events (default 300,000), `PGHERALD_TURNS` how often each figure is measured (default 3;
//! the medians are printed), and `PGHERALD_SAMPLES` the number of latencies of each source (default 300). Needs `nats-server` on the
//! PATH.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "benchmarks may panic"
)]

#[path = "support/bare_nats.rs"]
mod bare_nats;
mod support;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use futures_util::StreamExt as _;
use pgherald::group::{Consumer, Group};
use pgherald::nats::{NatsConfig, NatsSource, Relay, RelayOptions, StreamOptions};
use pgherald::trigger::{self, TriggerSpec};
use pgherald::{ConnectConfig, DurableOptions, OutboxSource, Signal, Source, TableName};
use pgherald_testkit::Postgres;
use pgherald_testkit::nats::NatsServer;
use rustix::time::{ClockId, clock_gettime};
use support::median;
use support::node::Nothing;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio_postgres::{Client, NoTls};

fn number(name: &str, default: usize) -> usize {
    let number = std::env::var(name).ok().and_then(|text| text.parse().ok());
    number.unwrap_or(default)
}

/// Runs a future on a thread of its own. The thread returns its processor time in seconds.
fn spawn<H, F>(make: impl FnOnce() -> (H, F) + Send + 'static) -> (H, JoinHandle<f64>)
where
    H: Send + 'static,
    F: Future,
{
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (handle, run) = make();
        sender.send(handle).unwrap();
        runtime.block_on(LocalSet::new().run_until(run));
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    });
    (receiver.recv().unwrap(), thread)
}

struct Database {
    url: String,
    client: Arc<Client>,
    spec: TriggerSpec,
}

impl Database {
    async fn create(server: &Postgres) -> Self {
        let url = server.create_database().await.unwrap();
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        tokio::spawn(connection);
        let table = "CREATE TABLE jobs (id int PRIMARY KEY, value int)";
        client.batch_execute(table).await.unwrap();
        let table = TableName::new("public", "jobs").unwrap();
        let spec = TriggerSpec::new(table).every_column().outbox();
        let plan = trigger::plan(&client, std::slice::from_ref(&spec)).await;
        plan.unwrap().apply(&client).await.unwrap();
        Self {
            url,
            client: Arc::new(client),
            spec,
        }
    }

    fn config(&self) -> ConnectConfig {
        self.url.parse().unwrap()
    }

    /// Records events of `events` different rows.
    async fn record(&self, events: usize) {
        for first in (0..events).step_by(1_000) {
            let last = (first + 1_000).min(events) - 1;
            let sql =
                format!("INSERT INTO jobs SELECT n, n FROM generate_series({first}, {last}) AS n");
            self.client.batch_execute(&sql).await.unwrap();
        }
        self.client
            .batch_execute("ANALYZE; CHECKPOINT")
            .await
            .unwrap();
    }

    /// Returns the events per second, from the first one until the database shows all of them as acknowledged.
    async fn rate(&self, group: &str, events: usize, handled: impl Fn() -> u64) -> f64 {
        while handled() == 0 {
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        let began = Instant::now();
        // Read the status only then: it counts the events that are not acknowledged, which is expensive before.
        while handled() < events as u64 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        loop {
            let status = Group::new(&self.client, group).status().await;
            if status.is_ok_and(|status| status.lag_events == 0) {
                return events as f64 / began.elapsed().as_secs_f64();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn delete(&self, group: &str) {
        Group::new(&self.client, group).delete().await.unwrap();
    }

    /// Inserts a row. Returns when it began.
    async fn insert(&self, id: i32) -> Instant {
        let began = Instant::now();
        let sql = "INSERT INTO jobs VALUES ($1, $1)";
        self.client.execute(sql, &[&id]).await.unwrap();
        began
    }
}

/// Events per second, and processor time per event in microseconds.
type Work = (f64, f64);

const DEADLINE: Duration = Duration::from_secs(30);

async fn by_handler(database: &Database, events: usize) -> Work {
    let config = database.config();
    let (handle, thread) = spawn(move || {
        let options = DurableOptions::new("handler").from_beginning();
        let (handle, consumer) = Consumer::batches(config, options, || Nothing).unwrap();
        (handle, consumer.run())
    });
    let handled = || handle.report().handled;
    let rate = database.rate("handler", events, handled).await;
    handle.drain(DEADLINE).await;
    database.delete("handler").await;
    (rate, thread.join().unwrap() * 1e6 / events as f64)
}

async fn by_relay(
    database: &Database,
    server: &NatsServer,
    events: usize,
    turn: usize,
) -> (Work, f64) {
    let nats = NatsConfig::new(&server.url()).unwrap();
    let (config, servers) = (database.config(), nats.clone());
    // Each turn has a stream of its own: a position in an older one would say that everything is stored.
    let stream = format!("TURN{turn}");
    let options = RelayOptions::new("relay", &stream)
        .prefix(stream.parse().unwrap())
        .create(StreamOptions::new())
        .from_beginning();
    let (handle, thread) = spawn(move || {
        let (handle, relay) = Relay::new(config, servers, options).unwrap();
        (handle, relay.run())
    });
    let rate = database
        .rate("relay", events, || handle.report().events)
        .await;
    let report = handle.drain(DEADLINE).await;
    assert_eq!(report.events, events as u64, "{report:?}");
    database.delete("relay").await;
    let context = async_nats::jetstream::new(nats.connect().await.unwrap());
    let limit = by_bare_loop(server.port(), &context, &stream).await;
    let work = (rate, thread.join().unwrap() * 1e6 / events as f64);
    println!(
        "batches of {:.0} events",
        report.events as f64 / report.batches as f64
    );
    (work, limit)
}

/// Stores the messages of a stream again, in a new stream, from a bare socket that sends them encoded. Returns messages per second.
/// Deletes the stream.
async fn by_bare_loop(port: u16, context: &jetstream::Context, stream: &str) -> f64 {
    let found = context.get_stream(stream).await.unwrap();
    let last = found.cached_info().state.last_sequence;
    let config = found.cached_info().config.clone();
    let consumer = found
        .create_consumer(jetstream::consumer::pull::OrderedConfig::default())
        .await
        .unwrap();
    let mut read = consumer.messages().await.unwrap();
    let mut messages = Vec::new();
    while let Some(message) = read.next().await {
        let message = message.unwrap();
        let sequence = message.info().unwrap().stream_sequence;
        messages.push(bare_nats::Message {
            subject: message.subject.to_string(),
            headers: message.headers.clone().unwrap_or_default(),
            payload: message.payload.to_vec(),
        });
        if sequence == last {
            break;
        }
    }
    context.delete_stream(stream).await.unwrap();
    context.create_stream(config).await.unwrap();
    let rate = tokio::task::spawn_blocking(move || bare_nats::rate(port, &messages));
    let rate = rate.await.unwrap();
    context.delete_stream(stream).await.unwrap();
    rate
}

async fn throughput(server: &Postgres, nats: &NatsServer) {
    let (events, turns) = (
        number("PGHERALD_BACKLOG", 300_000),
        number("PGHERALD_TURNS", 3),
    );
    let database = Database::create(server).await;
    database.record(events).await;
    let (mut handler, mut relay, mut limits) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..turns {
        handler.push(by_handler(&database, events).await);
        let (work, limit) = by_relay(&database, nats, events, turn).await;
        relay.push(work);
        limits.push(limit);
    }
    let medians = |work: Vec<Work>| {
        let (rates, times): (Vec<_>, Vec<_>) = work.into_iter().unzip();
        (median(rates), median(times))
    };
    let ((handler, handler_cpu), (relay, relay_cpu)) = (medians(handler), medians(relay));
    println!("backlog of {events} events, medians of {turns} turns:");
    println!(
        "handler that does nothing: {handler:.0} events/s, {handler_cpu:.2} µs of processor time for each"
    );
    println!(
        "relay:                     {relay:.0} events/s, {relay_cpu:.2} µs of processor time for each"
    );
    let limit = median(limits);
    println!("batches of 1,000 from a bare socket: {limit:.0} events/s");
    println!(
        "relay, relative to the bare socket: {:.2} of its events/s",
        relay / limit
    );
    println!(
        "relay, relative to the handler: {:.2} of its events/s, {:.2} times its processor time",
        relay / handler,
        relay_cpu / handler_cpu
    );
}

/// A source on a thread of its own, which sends when it is live, and when each event has arrived.
fn arrivals<S: Source + 'static>(
    build: impl FnOnce() -> S + Send + 'static,
) -> mpsc::Receiver<Instant> {
    let (sender, receiver) = mpsc::channel(8);
    let ((), _) = spawn(move || {
        let mut source = build();
        let run = async move {
            loop {
                let signal = source.next().await;
                let now = Instant::now();
                if matches!(signal, Signal::Live | Signal::Events(_))
                    && sender.send(now).await.is_err()
                {
                    return;
                }
            }
        };
        ((), run)
    });
    receiver
}

async fn latency(server: &Postgres, nats: &NatsConfig) {
    let samples = number("PGHERALD_SAMPLES", 300);
    // A database for each, because a wake-up reaches all listeners of its database.
    let (relayed, direct) = (
        Database::create(server).await,
        Database::create(server).await,
    );
    let (config, servers, spec) = (relayed.config(), nats.clone(), relayed.spec.clone());
    let (relay, _) = spawn(move || {
        let options = RelayOptions::new("latency", "LATENCY")
            .requires([spec])
            .create(StreamOptions::new());
        let (handle, relay) = Relay::new(config, servers, options).unwrap();
        (handle, relay.run())
    });
    let mut health = relay.health();
    health.wait_for(pgherald::Health::is_live).await.unwrap();
    let source = NatsSource::builder(nats.clone(), "LATENCY");
    let mut from_nats = arrivals(move || source.build().unwrap());
    let source = OutboxSource::builder(direct.config()).watch(direct.spec.clone());
    let mut from_outbox = arrivals(move || source.build().unwrap());
    from_nats.recv().await.unwrap();
    from_outbox.recv().await.unwrap();
    let (mut nats_times, mut outbox_times) = (Vec::new(), Vec::new());
    for sample in 0..samples {
        for (database, arrivals, times) in [
            (&relayed, &mut from_nats, &mut nats_times),
            (&direct, &mut from_outbox, &mut outbox_times),
        ] {
            // A source and a relay read more often for a while after an event.
            tokio::time::sleep(Duration::from_millis(200)).await;
            // A source that was late in between is live again.
            while arrivals.try_recv().is_ok() {}
            let began = database.insert(i32::try_from(sample).unwrap()).await;
            let arrived = arrivals.recv().await.unwrap();
            times.push(arrived.saturating_duration_since(began).as_secs_f64() * 1e3);
        }
    }
    println!(
        "from just before a statement that commits until the source has its event, at idle, {samples} samples:"
    );
    for (name, times) in [
        ("NatsSource:  ", &mut nats_times),
        ("OutboxSource:", &mut outbox_times),
    ] {
        times.sort_by(f64::total_cmp);
        let at = |percent: usize| times[(times.len() - 1) * percent / 100];
        println!("{name} p50 {:.2} ms, p99 {:.2} ms", at(50), at(99));
    }
    relay.drain(DEADLINE).await;
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let server = Postgres::builder()
        .setting("fsync", "on")
        .setting("synchronous_commit", "on")
        .setting("shared_buffers", "256MB")
        .start()
        .await
        .unwrap();
    let nats_server = NatsServer::start().await.unwrap();
    let nats = NatsConfig::new(&nats_server.url()).unwrap();
    throughput(&server, &nats_server).await;
    latency(&server, &nats).await;
}
