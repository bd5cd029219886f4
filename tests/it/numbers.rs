//! Numbered rows, what subscribers have received of them, and whether each is accounted for.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler};
use pgherald::{
    Events, Filter, GetStatus, Key, ListenerActor, Overflow, Subscribe, SubscriptionOptions,
    SubscriptionStats,
};
use pgherald_testkit::Probe;
use tokio_postgres::Client;

use crate::support::{DEADLINE, client, live};

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
pub(crate) struct Writer {
    url: String,
    next: i64,
    client: Option<Client>,
}

impl Writer {
    pub(crate) fn new(url: String) -> Self {
        Self {
            url,
            next: 0,
            client: None,
        }
    }

    pub(crate) async fn write(&mut self, random: &mut fastrand::Rng) {
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

/// Subscribers of different speed and overflow policy, with what they have received.
pub(crate) struct Subscribers {
    listener: Addr<ListenerActor>,
    records: Vec<(&'static str, Rc<RefCell<Record>>)>,
    may_repeat: bool,
}

impl Subscribers {
    pub(crate) async fn new(listener: &Addr<ListenerActor>) -> Self {
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
            may_repeat: false,
        }
    }

    /// Allows that numbers before a resync come again after it.
    #[allow(dead_code, reason = "for some sources")]
    pub(crate) fn repeating(mut self) -> Self {
        self.may_repeat = true;
        self
    }

    /// Waits until each subscriber has received a last number, and checks that each number is accounted for. Returns the
    /// statistics of the subscriptions, that of the fast one first.
    pub(crate) async fn finish(
        self,
        writer: &mut Writer,
        health: &Probe,
        seed: u64,
    ) -> Vec<SubscriptionStats> {
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
        status.subscriptions
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
