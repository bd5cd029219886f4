//! A stalled subscriber does not delay others, costs bounded memory, and learns how many events it lost. The test has its own
//! process, because it measures memory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    dead_code,
    reason = "tests may panic, and this one uses only a part of the support module"
)]

#[path = "it/support.rs"]
mod support;

use std::cell::RefCell;
use std::rc::Rc;

use actix::{Actor, Context, Handler};
use pgherald::{Events, Filter, GetStatus, Resync, Subscribe, Unsubscribe};
use tokio::sync::watch;

use support::{DEADLINE, client, database, listen, source, watched_table};

const EVENTS: u64 = 1_000_000;
const ROWS: u64 = 1_000;

/// Counts events. Handles its first batch only once the gate is open.
struct Counter {
    counts: Rc<RefCell<Counts>>,
    gate: watch::Receiver<bool>,
}

#[derive(Default)]
struct Counts {
    events: u64,
    reported_lost: u64,
}

impl Actor for Counter {
    type Context = Context<Self>;
}

impl Handler<Events> for Counter {
    type Result = actix::ResponseFuture<()>;

    fn handle(&mut self, events: Events, _: &mut Self::Context) -> Self::Result {
        let mut gate = self.gate.clone();
        let counts = Rc::clone(&self.counts);
        Box::pin(async move {
            let _ = gate.wait_for(|open| *open).await;
            let mut counts = counts.borrow_mut();
            counts.events += events.events().len() as u64;
            counts.reported_lost += events.resync().map_or(0, Resync::lost);
        })
    }
}

/// This process's memory in use, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1_024
}

#[actix::test]
async fn a_stalled_subscriber_costs_bounded_memory_and_receives_the_count_of_lost_events() {
    let url = database().await;
    let client = client(&url).await;
    let spec = watched_table(&client, "t").await;
    let (listener, probe) = listen(source(&url).watch(spec)).await;
    support::live(&probe).await;
    let (open, gate) = watch::channel(true);
    let (closed_until_now, stalled_gate) = watch::channel(false);
    let mut counted = Vec::new();
    for (name, gate) in [
        ("fast", gate.clone()),
        ("fast too", gate),
        ("stalled", stalled_gate),
    ] {
        let counts = Rc::new(RefCell::new(Counts::default()));
        let counter = Counter {
            counts: Rc::clone(&counts),
            gate,
        }
        .start();
        let subscribe = Subscribe::to(name, Filter::new(), counter.recipient());
        listener.send(subscribe).await.unwrap().unwrap();
        counted.push(counts);
    }
    // The probe keeps every event in memory, which would distort the measurement.
    let probe_id = listener.send(GetStatus).await.unwrap().subscriptions[0].id;
    assert!(listener.send(Unsubscribe(probe_id)).await.unwrap());

    let before = resident();
    let writing = async {
        for from in (0..EVENTS).step_by(ROWS as usize) {
            let to = from + ROWS - 1;
            let sql = format!("INSERT INTO t SELECT generate_series({from}, {to})");
            client.batch_execute(&sql).await.unwrap();
        }
    };
    let mut peak = before;
    let sampling = async {
        loop {
            peak = peak.max(resident());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let everything = async {
        writing.await;
        while counted[..2]
            .iter()
            .any(|counts| counts.borrow().events < EVENTS)
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        done = tokio::time::timeout(DEADLINE * 2, everything) => done.expect("the fast subscribers get every event"),
        () = sampling => unreachable!("it samples for ever"),
    }
    let growth = (peak - before) / 1_048_576;
    println!("memory grew by {growth} MiB");
    assert!(growth < 64, "memory grew by {growth} MiB");

    closed_until_now.send_replace(true);
    let stats = || async {
        listener
            .send(GetStatus)
            .await
            .unwrap()
            .subscriptions
            .into_iter()
            .next_back()
            .unwrap()
    };
    let caught_up = async {
        while counted[2].borrow().events + counted[2].borrow().reported_lost < EVENTS {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, caught_up)
        .await
        .expect("each event is delivered or reported as lost");
    let (stats, counts) = (stats().await, counted[2].borrow());
    println!(
        "stalled: {} delivered, {} reported as lost",
        counts.events, counts.reported_lost
    );
    assert_eq!(stats.matched, EVENTS);
    assert_eq!(stats.lost, counts.reported_lost);
    assert_eq!(counts.events + counts.reported_lost, EVENTS);
    assert!(counts.reported_lost > EVENTS / 2);
    for fast in &counted[..2] {
        assert_eq!(
            (fast.borrow().events, fast.borrow().reported_lost),
            (EVENTS, 0)
        );
    }
    drop(open);
}
