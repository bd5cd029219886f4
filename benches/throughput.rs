//! Events per second from PostgreSQL into actors, as a ratio to a bare tokio-postgres loop.
//!
//! A burst of notifications is committed at once. The measurement lasts from the first event that arrives to the last one. The
//! contestants take turns in one run, and their medians are compared. The ratios are printed at the end, after criterion's
//! figures.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "benchmarks may panic"
)]

mod support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix::{Actor, Context, Handler, System, SystemRunner};
use criterion::{Criterion, Throughput};
use pgherald::{ChannelName, Events, Filter, Herald, Subscribe, SubscriptionOptions};
use support::{Bare, BareBorrowed, BareConnection};
use tokio::sync::Notify;
use tokio_postgres::Client;

const BURST: usize = 100_000;

/// What all subscribers of a burst have received.
struct Tally {
    missing: Cell<usize>,
    first: Cell<Option<Instant>>,
    done: Notify,
}

/// Reads every event, as a subscriber would.
struct Counter(Rc<Tally>);

impl Actor for Counter {
    type Context = Context<Self>;
}

impl Handler<Events> for Counter {
    type Result = ();

    fn handle(&mut self, events: Events, _: &mut Self::Context) {
        if events.events().is_empty() {
            return;
        }
        if self.0.first.get().is_none() {
            self.0.first.set(Some(Instant::now()));
        }
        let seen = events
            .events()
            .iter()
            .filter(|event| event.key().is_some())
            .count();
        self.0.missing.set(self.0.missing.get() - seen);
        if self.0.missing.get() == 0 {
            self.0.done.notify_one();
        }
    }
}

/// The thread of a herald's listener: that of the counting actors, or its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thread {
    Same,
    Own,
}

/// A herald with counting subscribers.
struct Ours {
    herald: Herald,
    tally: Rc<Tally>,
    subscribers: usize,
    channel: String,
}

impl Ours {
    async fn start(url: &str, subscribers: usize, thread: Thread) -> Self {
        let name = format!("ours_{subscribers}_{thread:?}").to_lowercase();
        let channel = ChannelName::new(&name).expect("a name");
        let mut builder = Herald::connect(url.parse().expect("a URL")).channel(channel);
        if thread == Thread::Same {
            builder = builder.on_current_arbiter();
        }
        let herald = builder.start().await.expect("a herald");
        let tally = Rc::new(Tally {
            missing: Cell::new(0),
            first: Cell::new(None),
            done: Notify::new(),
        });
        for _ in 0..subscribers {
            let counter = Counter(Rc::clone(&tally)).start();
            let filter = Filter::new().table("public", "users");
            let options = SubscriptionOptions::new("counter");
            let subscribe = Subscribe::to("counter", filter, counter.recipient()).options(options);
            herald.subscribe(subscribe).await.expect("a subscription");
        }
        herald.live().await.expect("live");
        Self {
            herald,
            tally,
            subscribers,
            channel: name,
        }
    }

    async fn burst(&self, writer: &Client) -> Duration {
        self.tally.missing.set(BURST * self.subscribers);
        self.tally.first.set(None);
        let write = notify(writer, &self.channel);
        let finished = async {
            let limit = Duration::from_secs(30);
            if tokio::time::timeout(limit, self.tally.done.notified())
                .await
                .is_err()
            {
                let status = self.herald.status().await;
                panic!(
                    "{} events are missing: {status:?}",
                    self.tally.missing.get()
                );
            }
        };
        let ((), ()) = tokio::join!(write, finished);
        self.tally
            .first
            .get()
            .map_or(Duration::ZERO, |first| first.elapsed())
    }
}

async fn notify(writer: &Client, channel: &str) {
    // The server creates the payloads, so sending them costs this process nothing.
    let sql = "SELECT count(pg_notify($1, format(
                   '{\"v\":1,\"operation\":\"update\",\"schema\":\"public\",\"table\":\"users\",\
                     \"sent_at\":%s,\"xid\":%s,\"key\":[\"id\"],\"keys\":[%s]}',
                   to_json(clock_timestamp()), 7000000 + n, n)))
               FROM generate_series(1, $2::int) n";
    let count = i32::try_from(BURST).expect("small");
    writer
        .query_one(sql, &[&channel, &count])
        .await
        .expect("notify");
}

#[derive(Clone, Copy)]
enum Decode {
    Owned,
    Borrowed,
}

async fn bare_burst(
    connection: &mut BareConnection,
    channel: &str,
    writer: &Client,
    decode: Decode,
) -> Duration {
    let read = async {
        let mut first = None;
        let mut sum = 0;
        for _ in 0..BURST {
            let notification = support::next(connection).await;
            first.get_or_insert_with(Instant::now);
            sum += match decode {
                Decode::Owned => {
                    let event: Bare =
                        serde_json::from_str(notification.payload()).expect("an event");
                    std::hint::black_box(event).keys[0]
                }
                Decode::Borrowed => {
                    let event: BareBorrowed<'_> =
                        serde_json::from_str(notification.payload()).expect("an event");
                    std::hint::black_box(event).keys[0]
                }
            };
        }
        assert!(sum > 0);
        first.map_or(Duration::ZERO, |first| first.elapsed())
    };
    let (time, ()) = tokio::join!(read, notify(writer, channel));
    time
}

struct Setup {
    _server: pgherald_testkit::Postgres,
    system: SystemRunner,
    writer: Client,
    bare: RefCell<BareConnection>,
    _bare_client: Client,
    ours: Vec<Ours>,
}

impl Setup {
    fn new() -> Self {
        let server = support::server();
        let url = server.url();
        let system = System::new();
        let (writer, bare, ours) = system.block_on(async {
            let config: pgherald::ConnectConfig = url.parse().expect("a URL");
            let writer = config.client().await.expect("a writer");
            let bare = support::listen(&url, "bare").await;
            (
                writer,
                bare,
                [
                    Ours::start(&url, 1, Thread::Same).await,
                    Ours::start(&url, 16, Thread::Same).await,
                    Ours::start(&url, 1, Thread::Own).await,
                    Ours::start(&url, 16, Thread::Own).await,
                ],
            )
        });
        let (bare_client, bare) = bare;
        let bare = RefCell::new(bare);
        Self {
            _server: server,
            system,
            writer,
            bare,
            _bare_client: bare_client,
            ours: ours.into(),
        }
    }

    fn bare(&self, decode: Decode) -> Duration {
        let connection = &mut *self.bare.borrow_mut();
        self.system
            .block_on(bare_burst(connection, "bare", &self.writer, decode))
    }

    fn ours(&self, which: usize) -> Duration {
        self.system.block_on(self.ours[which].burst(&self.writer))
    }
}

fn main() {
    let setup = Setup::new();
    let contestants: [(&str, &dyn Fn() -> Duration); 6] = [
        ("bare loop, owned strings", &|| setup.bare(Decode::Owned)),
        ("bare loop, borrowed strings", &|| {
            setup.bare(Decode::Borrowed)
        }),
        ("1 actor", &|| setup.ours(0)),
        ("16 actors", &|| setup.ours(1)),
        ("1 actor, listener's own thread", &|| setup.ours(2)),
        ("16 actors, listener's own thread", &|| setup.ours(3)),
    ];

    let mut criterion = Criterion::default().configure_from_args().sample_size(10);
    let mut group = criterion.benchmark_group("throughput");
    group.throughput(Throughput::Elements(BURST as u64));
    for (name, run) in contestants {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| (0..rounds).map(|_| run()).sum());
        });
    }
    group.finish();
    criterion.final_summary();

    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let mut times: [Vec<f64>; 6] = Default::default();
    for _ in 0..25 {
        for (times, (_, run)) in times.iter_mut().zip(contestants) {
            times.push(run().as_secs_f64());
        }
    }
    let medians = times.map(support::median);
    println!("\nmedians of 25 bursts of {BURST} events each, taking turns:");
    for ((name, _), median) in contestants.iter().zip(medians) {
        let rate = BURST as f64 / median / 1_000.0;
        let ratio = medians[0] / median;
        println!("{name:<34} {rate:7.0}k events/s   {ratio:.2} of the bare loop");
    }
}
