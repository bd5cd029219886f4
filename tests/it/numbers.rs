//! Runs in which a writer inserts numbered rows: each number was delivered to each subscriber, or lies in an announced gap.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler};
use pgherald::trigger::TriggerSpec;
use pgherald::{
    Events, Filter, GetStatus, Key, ListenerActor, Operation, Overflow, Subscribe, SubscribeHealth,
    SubscriptionOptions, SubscriptionStats,
};
use pgherald_testkit::{FaultProxy, Postgres, Probe};
use tokio_postgres::Client;

use crate::support::{DEADLINE, client, install, live, not_live, watched_table};

/// The numbers that arrived, and the resyncs between them.
///
/// The checker needs no clock. A number is accounted for if it was delivered, or if a resync was delivered after every smaller
/// delivered number and before every greater one. The writer inserts one number after another, so their order is the order of
/// commits.
#[derive(Default)]
struct Record {
    /// Delivered numbers and, between them, resyncs.
    log: Vec<Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Entry {
    Number(i64),
    Resync,
}

impl Record {
    /// The committed numbers that are not accounted for, with reasons. Empty if there are none. With `may_repeat`, numbers before a
    /// resync may come again after it, in order.
    fn complaints(&self, committed: &BTreeSet<i64>, may_repeat: bool) -> Vec<String> {
        let mut complaints = Vec::new();
        let mut last = 0;
        let mut announced = false;
        for entry in &self.log {
            match *entry {
                Entry::Resync => announced = true,
                Entry::Number(number) if number <= last && announced && may_repeat => {
                    last = number;
                    announced = false;
                }
                Entry::Number(number) if number <= last => {
                    complaints.push(format!("{number} came after {last}"));
                }
                Entry::Number(number) => {
                    let missing: Vec<i64> = committed.range(last + 1..number).copied().collect();
                    if !missing.is_empty() && !announced {
                        complaints.push(format!("{missing:?} missing without a resync"));
                    }
                    last = number;
                    announced = false;
                }
            }
        }
        let missing: Vec<i64> = committed.range(last + 1..).copied().collect();
        if !missing.is_empty() {
            complaints.push(format!("{missing:?} missing at the end"));
        }
        complaints
    }

    fn last(&self) -> Option<i64> {
        self.log.iter().rev().find_map(|entry| match entry {
            Entry::Number(number) => Some(*number),
            Entry::Resync => None,
        })
    }
}

struct Recorder {
    record: Rc<RefCell<Record>>,
    /// Time per batch.
    pace: Duration,
}

impl Actor for Recorder {
    type Context = Context<Self>;
}

impl Handler<Events> for Recorder {
    type Result = actix::ResponseFuture<()>;

    fn handle(&mut self, events: Events, _: &mut Self::Context) -> Self::Result {
        {
            let log = &mut self.record.borrow_mut().log;
            log.extend(events.resync().map(|_| Entry::Resync));
            log.extend(
                events
                    .events()
                    .iter()
                    .map(|event| Entry::Number(event.key().and_then(i64::from_row_key).unwrap())),
            );
        }
        let pace = self.pace;
        Box::pin(async move { tokio::time::sleep(pace).await })
    }
}

/// Inserts numbers in order, singly or in bursts, and repeats an insert that failed until it has succeeded.
struct Writer {
    url: String,
    next: i64,
    client: Option<Client>,
}

impl Writer {
    fn new(url: String) -> Self {
        Self {
            url,
            next: 0,
            client: None,
        }
    }

    async fn write(&mut self, random: &mut fastrand::Rng) {
        let rows = random.i64(1..60);
        match random.bool() {
            true => self.insert(rows).await,
            false => {
                for _ in 0..rows {
                    self.insert(1).await;
                }
            }
        }
    }

    /// Inserts the next `rows` numbers in one statement.
    async fn insert(&mut self, rows: i64) {
        let from = self.next + 1;
        self.next += rows;
        let sql =
            "INSERT INTO numbers SELECT generate_series($1::bigint, $2) ON CONFLICT DO NOTHING";
        let attempts = async {
            loop {
                if let Some(client) = &self.client {
                    match client.execute(sql, &[&from, &self.next]).await {
                        Ok(_) => return,
                        Err(_) => self.client = None,
                    }
                }
                let config: pgherald::ConnectConfig = self.url.parse().unwrap();
                self.client = config.application_name("writer").client().await.ok();
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, attempts)
            .await
            .expect("the database comes back");
    }
}

/// The faults of the server, and of the connection to it, that end by themselves.
const LOSSES: [&str; 5] = [
    "terminate_listener",
    "terminate_all",
    "restart",
    "crash",
    "cut",
];
/// The faults that last until they are repaired.
const LASTING: [&str; 2] = ["refuse", "stall"];

/// A run: a writer inserts numbered rows while the server, the connection to it, and the programs between it and the subscribers
/// have faults. Each row that a subscriber did not receive lies in a gap that a resync announced.
///
/// `PGHERALD_SEED` repeats a run. `PGHERALD_FAULTS` sets the number of faults.
pub(crate) struct Run<'a> {
    /// The number of faults, unless `PGHERALD_FAULTS` sets it.
    pub(crate) faults: u64,
    /// Whether the rows are recorded in the outbox.
    pub(crate) is_recorded: bool,
    /// Further faults that end by themselves.
    pub(crate) losses: &'a [&'static str],
    /// Further faults that last until they are repaired.
    pub(crate) lasting: &'a [&'static str],
    /// Whether numbers that arrived before a resync may arrive again after it.
    pub(crate) may_repeat: bool,
}

/// What has happened in a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// How often the server crashed.
    pub(crate) crashes: u64,
    /// The statistics of the subscriber that is always fast enough.
    pub(crate) fast: SubscriptionStats,
}

impl Run<'_> {
    /// Runs on a listener, which `listener` makes for the URL of a database and a table. `inject` injects one of the further
    /// faults; with `None`, it repairs all of them.
    pub(crate) async fn start(
        self,
        listener: impl FnOnce(&str, TriggerSpec) -> ListenerActor,
        inject: impl AsyncFn(Option<&'static str>),
    ) -> Outcome {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
        let seed = number("PGHERALD_SEED").unwrap_or_else(|| fastrand::u64(..));
        let faults = number("PGHERALD_FAULTS").unwrap_or(self.faults);
        println!("seed {seed}, {faults} faults");
        let mut random = fastrand::Rng::with_seed(seed);

        let server = Postgres::start().await.unwrap();
        let spec = self.install(&server).await;
        let proxy = FaultProxy::start((server.host(), server.port())).await;
        let proxy = proxy.unwrap();
        let url = format!("{}?application_name=listener", proxy.url(&server.url()));
        let listener = listener(&url, spec).start();
        let health = Probe::start();
        let subscribe = SubscribeHealth(health.health());
        listener.send(subscribe).await.unwrap();
        let subscribers = Subscribers::new(&listener, self.may_repeat).await;
        live(&health).await;

        let mut writer = Writer::new(server.url());
        let losses = [&LOSSES, self.losses].concat();
        let all = [&losses[..], &LASTING, self.lasting].concat();
        let mut crashes = 0;
        for _ in 0..faults {
            writer.write(&mut random).await;
            let fault = random.choice(&all).copied().unwrap();
            tracing::info!(fault);
            crashes += u64::from(fault == "crash");
            if !happens(fault, &server, &proxy).await {
                inject(Some(fault)).await;
            }
            writer.write(&mut random).await;
            // Lasting faults sometimes end before they are detected.
            if !losses.contains(&fault) && random.bool() {
                not_live(&health).await;
                writer.write(&mut random).await;
            }
            proxy.resume();
            inject(None).await;
            if random.bool() {
                live(&health).await;
            }
        }
        live(&health).await;
        let fast = subscribers.finish(&mut writer, &health, seed).await;
        Outcome { crashes, fast }
    }

    async fn install(&self, server: &Postgres) -> TriggerSpec {
        let client = client(&server.url()).await;
        let spec = watched_table(&client, "numbers").await;
        let spec = spec.operations(Operation::Insert);
        let spec = match self.is_recorded {
            true => spec.outbox(),
            false => spec,
        };
        install(&client, &spec).await;
        spec
    }
}

/// Injects the fault if it is one of the server or of the connection to it. Returns whether it is.
async fn happens(fault: &str, server: &Postgres, proxy: &FaultProxy) -> bool {
    match fault {
        "terminate_listener" => drop(server.terminate_backends(Some("listener")).await),
        "terminate_all" => drop(server.terminate_backends(None).await),
        "restart" => server.restart().await.unwrap(),
        "crash" => {
            server.kill().await.unwrap();
            server.start_again().await.unwrap();
        }
        "cut" => proxy.cut(),
        "refuse" => {
            proxy.refuse();
            proxy.cut();
        }
        "stall" => proxy.stall(),
        _ => return false,
    }
    true
}

/// Subscribers of different speed and overflow policy, with what they have received.
struct Subscribers {
    listener: Addr<ListenerActor>,
    records: Vec<(&'static str, Rc<RefCell<Record>>)>,
    may_repeat: bool,
}

impl Subscribers {
    async fn new(listener: &Addr<ListenerActor>, may_repeat: bool) -> Self {
        let mut records = Vec::new();
        for (name, pace_ms, capacity, overflow) in [
            ("fast", 0, 100_000, Overflow::Resync),
            ("slow", 3, 40, Overflow::Resync),
            ("oldest", 3, 40, Overflow::DropOldest),
            ("coalescing", 2, 40, Overflow::CoalesceByKey),
        ] {
            let record = Rc::new(RefCell::new(Record::default()));
            let pace = Duration::from_millis(pace_ms);
            let recorder = Recorder {
                record: Rc::clone(&record),
                pace,
            }
            .start();
            let options = SubscriptionOptions::new(name)
                .capacity(capacity)
                .max_batch(4)
                .overflow(overflow);
            let subscribe =
                Subscribe::to(name, Filter::new(), recorder.recipient()).options(options);
            listener.send(subscribe).await.unwrap().unwrap();
            records.push((name, record));
        }
        Self {
            listener: listener.clone(),
            records,
            may_repeat,
        }
    }

    /// Waits until each subscriber has received a last number, and checks that each number is accounted for. Returns the
    /// statistics of the fast one.
    async fn finish(self, writer: &mut Writer, health: &Probe, seed: u64) -> SubscriptionStats {
        // Wait until the queues are empty: a slow subscriber needs room for the last number.
        let status = || async { self.listener.send(GetStatus).await.unwrap() };
        let idle = async {
            while status()
                .await
                .subscriptions
                .iter()
                .any(|subscription| subscription.queued > 0)
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, idle).await.unwrap();
        // Once the last number has arrived, so have all earlier ones. If the connection was lost undetected, this number lies in
        // the gap, and the loop writes another one.
        let last = async {
            loop {
                writer.insert(1).await;
                let last = writer.next;
                let all_have_it = async {
                    while self
                        .records
                        .iter()
                        .any(|(_, record)| record.borrow().last() != Some(last))
                    {
                        tokio::task::yield_now().await;
                    }
                };
                if tokio::time::timeout(Duration::from_secs(2), all_have_it)
                    .await
                    .is_ok()
                {
                    return last;
                }
                live(health).await;
            }
        };
        let last = tokio::time::timeout(DEADLINE, last)
            .await
            .expect("every subscriber receives a last number");

        let committed: BTreeSet<i64> = client(&writer.url)
            .await
            .query("SELECT n FROM numbers", &[])
            .await
            .unwrap()
            .iter()
            .map(|row| row.get(0))
            .collect();
        let status = status().await;
        println!("{} numbers committed, {:?}", committed.len(), status.counts);
        for (stats, (name, record)) in status.subscriptions.iter().zip(&self.records) {
            let record = record.borrow();
            let resyncs = record
                .log
                .iter()
                .filter(|entry| **entry == Entry::Resync)
                .count();
            println!("{name}: {stats:?}, {resyncs} resyncs");
            assert_eq!(
                record.complaints(&committed, self.may_repeat),
                [""; 0],
                "{name}, seed {seed}"
            );
            assert_eq!(
                stats.matched,
                stats.delivered + stats.lost + stats.coalesced,
                "{name}, seed {seed}"
            );
        }
        assert_eq!(committed.len() as i64, last, "seed {seed}");
        status.subscriptions[0].clone()
    }
}

#[test]
fn the_checker_finds_gaps_and_disorder() {
    use Entry::{Number, Resync};
    let committed: BTreeSet<i64> = (1..=5).collect();
    let count = |log: &[Entry], may_repeat| {
        let record = Record { log: log.to_vec() };
        record.complaints(&committed, may_repeat).len()
    };
    let complaints = |log: &[Entry]| count(log, false);
    assert_eq!(
        complaints(&[Number(1), Number(2), Number(3), Number(4), Number(5)]),
        0
    );
    assert_eq!(complaints(&[Resync, Number(4), Number(5)]), 0);
    assert_eq!(complaints(&[Number(1), Number(2), Resync, Number(5)]), 0);
    assert_eq!(complaints(&[Number(1), Resync, Number(2), Number(5)]), 1);
    assert_eq!(
        complaints(&[Number(1), Number(2), Number(4), Resync, Number(5)]),
        1
    );
    assert_eq!(
        complaints(&[Resync, Number(2), Number(1), Number(5), Number(3)]),
        3
    );
    assert_eq!(complaints(&[Resync, Number(4)]), 1);
    let repeated = [Resync, Number(4), Resync, Number(3), Number(4), Number(5)];
    assert_eq!((count(&repeated, false), count(&repeated, true)), (2, 0));
    assert_eq!(count(&[Resync, Number(4), Number(3), Number(5)], true), 1);
    assert_eq!(
        count(&[Resync, Number(4), Resync, Number(2), Number(5)], true),
        1
    );
}
