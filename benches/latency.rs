//! Latency from the commit of a change to the actor, one event at a time, compared with a bare loop.
//!
//! Each sample is the time from before the writer sends `SELECT pg_notify(…)` until the subscriber has the event. The two
//! listeners take turns sample by sample, so that other load on the machine affects both.

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

fn percentile(times: &mut [Duration], percent: f64) -> f64 {
    times.sort_unstable();
    let index = ((times.len() - 1) as f64 * percent / 100.0).round() as usize;
    times[index].as_secs_f64() * 1e6
}

/// A thread that notifies a channel on request, and responds with the time at which it began.
fn writer(
    url: String,
) -> (
    std::sync::mpsc::Sender<&'static str>,
    mpsc::Receiver<Instant>,
) {
    let (orders, ordered) = std::sync::mpsc::channel::<&'static str>();
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
            while let Ok(channel) = ordered.recv() {
                let now = Instant::now();
                client
                    .execute(&statement, &[&channel, &payload])
                    .await
                    .expect("notify");
                if begun.send(now).await.is_err() {
                    return;
                }
            }
        });
    });
    (orders, beginnings)
}

fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let server = support::server();
    let url = server.url();
    System::new().block_on(async {
        let (orders, mut beginnings) = writer(url.clone());
        let (_client, mut bare) = support::listen(&url, "bare").await;
        let herald = Herald::connect(url.parse().expect("a URL"))
            .channel(ChannelName::new("ours").expect("a name"))
            .start()
            .await
            .expect("a herald");
        let (arrived, mut arrivals) = mpsc::channel(1);
        let clock = Clock(arrived).start().recipient();
        herald
            .subscribe(Subscribe::to("clock", Filter::new(), clock))
            .await
            .expect("subscribed");
        herald.live().await.expect("live");

        let (mut bare_times, mut our_times) = (Vec::new(), Vec::new());
        for sample in 0..SAMPLES + WARM_UP {
            orders.send("bare").expect("the writer");
            let notification = support::next(&mut bare).await;
            let event: support::Bare = serde_json::from_str(notification.payload()).expect("JSON");
            let end = Instant::now();
            std::hint::black_box(event);
            let bare_time = end - beginnings.recv().await.expect("the writer");

            orders.send("ours").expect("the writer");
            let end = arrivals.recv().await.expect("the actor");
            let our_time = end - beginnings.recv().await.expect("the writer");
            if sample >= WARM_UP {
                bare_times.push(bare_time);
                our_times.push(our_time);
            }
        }
        println!("commit to subscriber, {SAMPLES} samples each, taking turns:");
        for percent in [50.0, 90.0, 99.0] {
            let (bare, ours) = (
                percentile(&mut bare_times, percent),
                percentile(&mut our_times, percent),
            );
            println!(
                "p{percent:<3} bare loop {bare:6.0} µs   actor {ours:6.0} µs   ratio {:.2}",
                ours / bare
            );
        }
    });
}
