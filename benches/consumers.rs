//! Performance of durable handlers: throughput, latency, and whether a large backlog slows them down. The server runs with fsync
//! and synchronous commits, and acknowledgements are included.
//!
//! `PGHERALD_BACKLOG` sets the large backlog (default 1,000,000 events). `PGHERALD_TURNS` sets how often each figure is measured
//! (default 3). The medians are printed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "benchmarks may panic"
)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use pgherald::group::{Consumer, Group, TransactionalHandler};
use pgherald::outbox::{Retention, set_retention, trim};
use pgherald::trigger::{self, TriggerSpec};
use pgherald::{
    Attempt, ConnectConfig, DurableOptions, Event, EventHandler, HandlerResult, Resync, TableName,
};
use pgherald_testkit::Postgres;
use support::median;
use support::node::{Node, Nothing};
use tokio::sync::mpsc;
use tokio_postgres::{Client, NoTls, Transaction};

fn number(name: &str, default: usize) -> usize {
    let number = std::env::var(name).ok().and_then(|text| text.parse().ok());
    number.unwrap_or(default)
}

/// Runs one statement per event.
struct Note;

impl TransactionalHandler for Note {
    type Event = Event;
    async fn handle(
        &self,
        event: Event,
        _: Attempt,
        transaction: &mut Transaction<'_>,
    ) -> HandlerResult {
        let id = event.outbox_id().unwrap_or_default();
        transaction
            .execute("INSERT INTO effects VALUES ($1)", &[&id])
            .await?;
        Ok(())
    }
    async fn resync(&self, _: Resync, _: &mut Transaction<'_>) -> HandlerResult {
        Ok(())
    }
}

struct Wait;

impl EventHandler for Wait {
    type Event = Event;
    async fn handle(&self, _: Event, _: Attempt) -> HandlerResult {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok(())
    }
    async fn resync(&self, _: Resync) -> HandlerResult {
        Ok(())
    }
}

struct SendTime(mpsc::Sender<Instant>);

impl EventHandler for SendTime {
    type Event = Event;
    async fn handle(&self, _: Event, _: Attempt) -> HandlerResult {
        self.0.send(Instant::now()).await?;
        Ok(())
    }
}

struct Scene {
    url: String,
    client: Arc<Client>,
}

impl Scene {
    fn config(&self) -> ConnectConfig {
        self.url.parse().unwrap()
    }

    /// Records events of `events` different rows.
    async fn record(&self, events: usize) {
        self.run("TRUNCATE jobs, effects").await;
        for first in (0..events).step_by(1_000) {
            let last = (first + 1_000).min(events) - 1;
            let sql =
                format!("INSERT INTO jobs SELECT n, n FROM generate_series({first}, {last}) AS n");
            self.run(&sql).await;
        }
        self.run("ANALYZE").await;
    }

    async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    /// Waits until the group has no lag according to the database.
    async fn wait_until_done(&self, group: &str) {
        loop {
            if let Ok(status) = Group::new(&self.client, group).status().await
                && status.lag_events == 0
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Has the nodes consume the recorded events, after a resync or another first event. Returns the events per second, until the
    /// database shows all of them as acknowledged.
    async fn rate(&self, group: &str, events: usize, nodes: Vec<Node>) -> f64 {
        let rate = self.consume(group, events, &nodes).await.acknowledged;
        for node in nodes {
            node.drain().await;
        }
        Group::new(&self.client, group).delete().await.unwrap();
        rate
    }

    async fn consume(&self, group: &str, events: usize, nodes: &[Node]) -> Work {
        let handled = || {
            nodes
                .iter()
                .map(|node| node.handle.report().handled)
                .sum::<u64>()
        };
        let before = handled();
        while handled() == before {
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        let began = Instant::now();
        let mut progress = Vec::new();
        loop {
            let done = handled() - before;
            progress.push((began.elapsed(), done as f64 / events as f64));
            if done >= events as u64 {
                break;
            }
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        self.wait_until_done(group).await;
        let acknowledged = events as f64 / began.elapsed().as_secs_f64();
        let late = span(&progress, 0.9, 1.0) / span(&progress, 0.05, 0.15);
        Work { acknowledged, late }
    }

    /// Has a node consume a backlog that was recorded while its group was paused. The node is connected and warm.
    async fn backlog(&self, events: usize, turns: usize) -> Work {
        let config = self.config();
        let node = Node::start(move || Consumer::batches(config, options("batches"), || Nothing));
        let group = Group::new(&self.client, "batches");
        let mut health = node.handle.health();
        health.wait_for(pgherald::Health::is_live).await.unwrap();
        let mut rates = Vec::new();
        for turn in 0..=turns {
            self.wait_until_done("batches").await;
            // A paused group keeps its unread rows.
            self.empty().await;
            group.pause().await.unwrap();
            // Consumers react to control notifications at most four times a second.
            tokio::time::sleep(Duration::from_millis(500)).await;
            // The first turn warms up.
            let events = if turn == 0 { 20_000 } else { events };
            self.record(events).await;
            if turn == 1 {
                self.sizes(&format!("{events} events recorded")).await;
            }
            // Otherwise the server would still be busy writing the recorded rows.
            self.run("CHECKPOINT").await;
            group.resume().await.unwrap();
            // TRUNCATE is an event of each table, too.
            let rate = self
                .consume("batches", events, std::slice::from_ref(&node))
                .await;
            if turn > 0 {
                rates.push(rate);
            }
        }
        node.drain().await;
        group.delete().await.unwrap();
        let (acknowledged, late) = rates
            .into_iter()
            .map(|work| (work.acknowledged, work.late))
            .unzip();
        Work {
            acknowledged: median(acknowledged),
            late: median(late),
        }
    }
}

/// The result of consuming a backlog.
struct Work {
    /// Events per second, until the database shows all of them as acknowledged.
    acknowledged: f64,
    /// Duration of the last tenth of the events, relative to a tenth near the beginning.
    late: f64,
}

/// The seconds between two stages of a run, which are given as fractions of all events.
fn span(progress: &[(Duration, f64)], from: f64, to: f64) -> f64 {
    let at = |stage: f64| {
        let reached = progress.iter().find(|(_, done)| *done >= stage);
        reached.map_or(0.0, |(elapsed, _)| elapsed.as_secs_f64())
    };
    at(to) - at(from)
}

fn options(group: &str) -> DurableOptions {
    DurableOptions::new(group).from_beginning()
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
    let url = server.create_database().await.unwrap();
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let scene = Scene {
        url,
        client: Arc::new(client),
    };
    scene
        .run("CREATE TABLE jobs (id int PRIMARY KEY, value int); CREATE TABLE effects (id bigint)")
        .await;
    let table = TableName::new("public", "jobs").unwrap();
    let spec = TriggerSpec::new(table).every_column().outbox();
    let plan = trigger::plan(&scene.client, &[spec]).await.unwrap();
    plan.apply(&scene.client).await.unwrap();

    let turns = number("PGHERALD_TURNS", 3);
    let (small, large) = (10_000, number("PGHERALD_BACKLOG", 1_000_000));
    let rate = scene.backlog(small, turns.max(9)).await.acknowledged;
    println!("batch handler, backlog of {small}: {rate:.0} events/s");

    scene.empty().await;
    scene.record(small).await;
    let mut rates = Vec::new();
    for _ in 0..turns {
        let config = scene.config();
        let node = Node::start(move || {
            Consumer::new(config, options("single").concurrency(32), || Nothing)
        });
        rates.push(scene.rate("single", small, vec![node]).await);
    }
    println!("single events, no effect: {:.0} events/s", median(rates));

    let mut rates = Vec::new();
    for _ in 0..turns {
        let config = scene.config();
        let node =
            Node::start(move || Consumer::transactional(config, options("transactional"), || Note));
        rates.push(scene.rate("transactional", small, vec![node]).await);
    }
    println!("transactional handler: {:.0} events/s", median(rates));

    scene.empty().await;
    scene.record(4_000).await;
    let (mut one, mut two) = (Vec::new(), Vec::new());
    for _ in 0..turns {
        for (count, rates) in [(1, &mut one), (2, &mut two)] {
            let nodes = (0..count).map(|_| {
                let config = scene.config();
                Node::start(move || Consumer::new(config, options("waiting"), || Wait))
            });
            let nodes: Vec<Node> = nodes.collect();
            // Wait until both nodes own their share of the slices.
            rates.push(scene.rate("waiting", 4_000, nodes).await);
        }
    }
    let (one, two) = (median(one), median(two));
    println!(
        "5 ms for each event: {one:.0} events/s by one node, {two:.0} by two: {:.2} times",
        two / one
    );

    let (sender, mut receiver) = mpsc::channel(1_000);
    let config = scene.config();
    let node = Node::start(move || {
        Consumer::new(config, DurableOptions::new("latency"), move || {
            SendTime(sender.clone())
        })
    });
    let mut health = node.handle.health();
    health.wait_for(pgherald::Health::is_live).await.unwrap();
    scene.wait_until_done("latency").await;
    let mut latencies = Vec::new();
    for id in 0..200 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        while receiver.try_recv().is_ok() {}
        scene
            .run(&format!("UPDATE jobs SET value = -1 WHERE id = {id}"))
            .await;
        let committed = Instant::now();
        let handled = receiver.recv().await.unwrap();
        latencies.push(handled.saturating_duration_since(committed).as_secs_f64() * 1e3);
    }
    latencies.sort_by(f64::total_cmp);
    println!(
        "from commit to handler, at idle: p50 {:.2} ms, p99 {:.2} ms",
        latencies[100], latencies[198]
    );
    node.drain().await;
    Group::new(&scene.client, "latency").delete().await.unwrap();

    let Work {
        acknowledged: rate,
        late,
    } = scene.backlog(large, turns).await;
    println!(
        "batch handler, backlog of {large}: {rate:.0} events/s; of the last tenth an event takes {late:.2} of what it takes \
         while the backlog is large"
    );
    scene.empty().await;
    scene.sizes("consumed and trimmed").await;
}

impl Scene {
    /// Empties the outbox as if all rows were old.
    async fn empty(&self) {
        set_retention(&self.client, Retention::new(Duration::ZERO))
            .await
            .unwrap();
        let sql = "SELECT count(*) FROM pgherald.outbox";
        while self
            .client
            .query_one(sql, &[])
            .await
            .unwrap()
            .get::<_, i64>(0)
            > 0
        {
            trim(&self.client).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        set_retention(&self.client, Retention::default())
            .await
            .unwrap();
    }

    async fn sizes(&self, when: &str) {
        let sql = "SELECT (sum(pg_total_relation_size(c.oid)) / 1024)::bigint FROM pg_class AS c
            WHERE relnamespace = 'pgherald'::regnamespace AND relkind = 'r'";
        let size: i64 = self.client.query_one(sql, &[]).await.unwrap().get(0);
        println!("all tables of pgherald, {when}: {size} KiB");
    }
}
