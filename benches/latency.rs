//! Latency from the commit of a change to the actor, one event at a time, compared with a bare loop.
//!
//! Each sample is the time from before the writer sends `SELECT pg_notify(…)` until the subscriber has the event. The three
//! listeners take turns sample by sample, so that other load on the machine affects all of them. A herald has its listener on a
//! thread of its own, or on the thread of the actor: the difference is the way from thread to thread. Each listener has a
//! database of its own, because a notification wakes up all listeners of its database.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "benchmarks may panic"
)]

mod support;

use std::time::{Duration, Instant};

use actix::{Actor, Context, Handler, System};
use pgherald::{ChannelName, Events, Filter, Herald, Subscribe};
use tokio::sync::mpsc;

const CHANNEL: &str = "changes";
const SAMPLES: usize = 5_000;
const WARM_UP: usize = 500;

/// Sends the time at which each event arrived.
struct Clock(mpsc::Sender<Instant>);

impl Actor for Clock {
    type Context = Context<Self>;
}

impl Handler<Events> for Clock {
    type Result = ();

    fn handle(&mut self, events: Events, _: &mut Self::Context) {
        if !events.events().is_empty() {
            self.0
                .try_send(Instant::now())
                .expect("one event at a time");
        }
    }
}

/// A herald with an actor, and the times of its samples.
struct Ours {
    thread: &'static str,
    writer: Writer,
    arrivals: mpsc::Receiver<Instant>,
    times: Vec<Duration>,
    _herald: Herald,
}

impl Ours {
    async fn start(url: &str, thread: &'static str) -> Self {
        let channel = ChannelName::new(CHANNEL).expect("a name");
        let mut builder = Herald::connect(url.parse().expect("a URL")).channel(channel);
        if thread == "same thread" {
            builder = builder.on_current_arbiter();
        }
        let herald = builder.start().await.expect("a herald");
        let (arrived, arrivals) = mpsc::channel(1);
        let clock = Clock(arrived).start().recipient();
        herald
            .subscribe(Subscribe::to("clock", Filter::new(), clock))
            .await
            .expect("subscribed");
        herald.live().await.expect("live");
        Self {
            thread,
            writer: Writer::start(url.to_owned()),
            arrivals,
            times: Vec::new(),
            _herald: herald,
        }
    }
}

fn percentile(times: &mut [Duration], percent: f64) -> f64 {
    times.sort_unstable();
    let index = ((times.len() - 1) as f64 * percent / 100.0).round() as usize;
    times[index].as_secs_f64() * 1e6
}

/// A thread that notifies the channel on request, and responds with the time at which it began.
struct Writer {
    orders: std::sync::mpsc::Sender<()>,
    beginnings: mpsc::Receiver<Instant>,
}

impl Writer {
    fn start(url: String) -> Self {
        let (orders, ordered) = std::sync::mpsc::channel();
        let (begun, beginnings) = mpsc::channel(1);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async move {
                let config: pgherald::ConnectConfig = url.parse().expect("a URL");
                let client = config.client().await.expect("a client");
                let sql = "SELECT pg_notify($1, $2)";
                let statement = client.prepare(sql).await.expect("a statement");
                let payload = support::payload(7);
                while ordered.recv().is_ok() {
                    let now = Instant::now();
                    client
                        .execute(&statement, &[&CHANNEL, &payload])
                        .await
                        .expect("notify");
                    if begun.send(now).await.is_err() {
                        return;
                    }
                }
            });
        });
        Self { orders, beginnings }
    }

    fn notify(&self) {
        self.orders.send(()).expect("the writer");
    }

    async fn began(&mut self) -> Instant {
        self.beginnings.recv().await.expect("the writer")
    }
}

fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let server = support::server();
    System::new().block_on(async {
        let database = async || server.create_database().await.expect("a database");
        let url = database().await;
        let (_client, mut bare) = support::listen(&url, CHANNEL).await;
        let mut writer = Writer::start(url);
        let mut ours = [
            Ours::start(&database().await, "own thread").await,
            Ours::start(&database().await, "same thread").await,
        ];
        let mut bare_times = Vec::new();
        for sample in 0..SAMPLES + WARM_UP {
            writer.notify();
            let notification = support::next(&mut bare).await;
            let event: support::Bare = serde_json::from_str(notification.payload()).expect("JSON");
            let end = Instant::now();
            std::hint::black_box(event);
            let time = end - writer.began().await;
            if sample >= WARM_UP {
                bare_times.push(time);
            }
            for ours in &mut ours {
                ours.writer.notify();
                let end = ours.arrivals.recv().await.expect("the actor");
                let time = end - ours.writer.began().await;
                if sample >= WARM_UP {
                    ours.times.push(time);
                }
            }
        }
        println!("commit to subscriber, {SAMPLES} samples each, taking turns:");
        for percent in [50.0, 90.0, 99.0] {
            let bare = percentile(&mut bare_times, percent);
            print!("p{percent:<3} bare loop {bare:6.0} µs");
            for ours in &mut ours {
                let time = percentile(&mut ours.times, percent);
                print!(
                    "   actor, {} {time:6.0} µs, ratio {:.2}",
                    ours.thread,
                    time / bare
                );
            }
            println!();
        }
    });
}
