//! A handler that reads through a cache never reads a value older than the event that it received.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::{Actor, Context, Handler, ResponseFuture};
use pgherald::__private::host::cache::Drive;
use pgherald::group::Group;
use pgherald::trigger::TriggerSpec;
use pgherald::{
    Attempt, CacheBuilder, CacheHandle, DurableOptions, EphemeralOptions, Event, EventHandler,
    Events, Filter, FromEvent, HandlerResult, Herald, Strategy, Subscribe, SubscriptionOptions,
    Table, Timed, Updated, Windowed,
};
use tokio::sync::OnceCell;
use tokio_postgres::Client;

use crate::support::{client, config, database};

const LIMIT: Duration = Duration::from_secs(30);
const WRITES: i64 = 100;

#[derive(Debug, serde::Deserialize, Table)]
#[table(name = "counters", key = "id")]
struct Counter {
    id: i64,
    value: i64,
}

/// Reads the counter of each event through the cache.
#[derive(Clone)]
struct Reader {
    cache: Arc<OnceCell<CacheHandle<i64, i64>>>,
    client: Arc<Client>,
    seen: Arc<AtomicU64>,
    stale: Arc<AtomicU64>,
}

impl Reader {
    fn new(client: Client) -> Self {
        Self {
            cache: Arc::default(),
            client: Arc::new(client),
            seen: Arc::default(),
            stale: Arc::default(),
        }
    }

    async fn read(&self, id: i64) -> i64 {
        let load = async || {
            let sql = "SELECT value FROM counters WHERE id = $1";
            let row = self.client.query_one(sql, &[&id]).await?;
            Ok::<i64, tokio_postgres::Error>(row.get(0))
        };
        let cache = self.cache.get().unwrap();
        *cache.get_or_load(id, load).await.unwrap()
    }

    async fn check(&self, counter: Counter) {
        let read = self.read(counter.id).await;
        if read < counter.value {
            self.stale.fetch_add(1, Ordering::Relaxed);
        }
        // Fill the cache, so that the next event finds a cached value.
        self.read(counter.id).await;
        self.seen.fetch_add(1, Ordering::Relaxed);
    }
}

impl EventHandler for Reader {
    type Event = Updated<Counter>;

    async fn handle(&self, updated: Updated<Counter>, _: Attempt) -> HandlerResult {
        self.check(updated.row()?).await;
        Ok(())
    }
}

fn counter(event: &Event) -> Counter {
    let updated: Option<Updated<Counter>> = Updated::from_event(event).unwrap();
    updated.unwrap().row().unwrap()
}

/// The same check as an actor.
struct ReadingActor(Reader);

impl Actor for ReadingActor {
    type Context = Context<Self>;
}

impl Handler<Events> for ReadingActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, events: Events, _: &mut Self::Context) -> Self::Result {
        let reader = self.0.clone();
        Box::pin(async move {
            for event in events.events().iter() {
                reader.check(counter(event)).await;
            }
        })
    }
}

async fn table(url: &str) {
    let sql = "CREATE TABLE counters (id bigint PRIMARY KEY, value bigint NOT NULL);
               INSERT INTO counters SELECT id, 0 FROM generate_series(1, 4) id";
    client(url).await.batch_execute(sql).await.unwrap();
}

/// A database with the table, and a herald that watches it.
async fn scene(spec: TriggerSpec) -> (String, Herald) {
    let url = database().await;
    table(&url).await;
    let herald = Herald::builder(config(&url))
        .watch_with(spec)
        .install_triggers()
        .start()
        .await
        .unwrap();
    (url, herald)
}

/// Starts the reader as an ephemeral handler.
async fn start_handler(herald: &Herald, reader: &Reader) {
    let make = reader.clone();
    let options = EphemeralOptions::new("reader");
    herald
        .start_handler(options, move || make.clone())
        .await
        .unwrap();
}

/// Increments each counter, and waits until the reader has seen every write.
async fn write(url: &str, reader: &Reader) {
    let cache = reader.cache.get().unwrap();
    let writer = client(url).await;
    let wait = async {
        while !cache.is_live() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for id in 1..=4 {
            reader.read(id).await;
        }
        for number in 0..WRITES {
            let id = number % 4 + 1;
            let sql = "UPDATE counters SET value = value + 1 WHERE id = $1";
            writer.execute(sql, &[&id]).await.unwrap();
            // Wait for the reader: if the events arrived in one batch, the cache would have the newest value for all of them.
            while reader.seen.load(Ordering::Relaxed) <= number.cast_unsigned() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    };
    tokio::time::timeout(LIMIT, wait).await.unwrap();
}

fn cache() -> CacheBuilder<i64, i64> {
    CacheBuilder::new("counters").row_of::<Counter>()
}

#[track_caller]
fn assert_fresh(reader: &Reader) {
    let stale = reader.stale.load(Ordering::Relaxed);
    assert_eq!(stale, 0, "stale reads of {WRITES}");
}

#[actix::test]
async fn a_handler_registered_before_the_cache_reads_fresh_values() {
    let (url, herald) = scene(TriggerSpec::of::<Counter>().unwrap()).await;
    let reader = Reader::new(client(&url).await);
    start_handler(&herald, &reader).await;
    let cache = herald.start_cache(cache()).await.unwrap();
    reader.cache.set(cache).unwrap();
    write(&url, &reader).await;
    assert_fresh(&reader);
}

#[actix::test]
async fn an_actor_on_another_arbiter_reads_fresh_values() {
    let (url, herald) = scene(TriggerSpec::of::<Counter>().unwrap()).await;
    let arbiter = actix::Arbiter::new();
    let (sender, connected) = tokio::sync::oneshot::channel();
    let actor_url = url.clone();
    // The client's connection has to run on the arbiter's runtime.
    arbiter.spawn(async move {
        let reader = Reader::new(client(&actor_url).await);
        let actor = ReadingActor(reader.clone()).start();
        assert!(sender.send((reader, actor)).is_ok());
    });
    let (reader, actor) = connected.await.unwrap();
    let filter = Filter::new().table("public", "counters");
    let subscribe = Subscribe::to("reader", filter, actor.recipient());
    herald.subscribe(subscribe).await.unwrap();
    reader
        .cache
        .set(herald.start_cache(cache()).await.unwrap())
        .unwrap();
    write(&url, &reader).await;
    assert_fresh(&reader);
    arbiter.stop();
}

#[actix::test]
async fn a_subscription_without_an_actor_reads_fresh_values() {
    let (url, herald) = scene(TriggerSpec::of::<Counter>().unwrap()).await;
    let reader = Reader::new(client(&url).await);
    let filter = Filter::new().table("public", "counters");
    let options = SubscriptionOptions::new("reader");
    let mut open = herald.open(filter, options).await.unwrap();
    reader
        .cache
        .set(herald.start_cache(cache()).await.unwrap())
        .unwrap();
    let checking = reader.clone();
    actix::spawn(async move {
        while let Some(delivery) = open.recv().await {
            for event in delivery.events().iter() {
                checking.check(counter(event)).await;
            }
        }
    });
    write(&url, &reader).await;
    assert_fresh(&reader);
}

#[actix::test]
async fn a_durable_handler_reads_fresh_values() {
    let (url, herald) = scene(TriggerSpec::of::<Counter>().unwrap().outbox()).await;
    let reader = Reader::new(client(&url).await);
    let make = reader.clone();
    let options = DurableOptions::new("reader").slices(4);
    herald
        .start_durable(options, move || make.clone())
        .await
        .unwrap();
    reader
        .cache
        .set(herald.start_cache(cache()).await.unwrap())
        .unwrap();
    write(&url, &reader).await;
    assert_fresh(&reader);
    herald.shutdown(LIMIT).await.unwrap();
    let client = Arc::new(client(&url).await);
    let status = Group::new(&client, "reader").status().await.unwrap();
    assert_eq!(status.dead_letters, 0);
}

/// A strategy that holds events back has consumed them, so handlers do not wait for it. They may read the value that it still
/// serves.
#[actix::test]
async fn a_strategy_that_holds_events_does_not_delay_handlers() {
    async fn events_arrive(strategy: impl Strategy) {
        let (url, herald) = scene(TriggerSpec::of::<Counter>().unwrap()).await;
        let reader = Reader::new(client(&url).await);
        start_handler(&herald, &reader).await;
        let cache = herald
            .start_cache(cache().strategy(strategy))
            .await
            .unwrap();
        reader.cache.set(cache).unwrap();
        write(&url, &reader).await;
    }
    events_arrive(Windowed::events(1_000).unwrap()).await;
    events_arrive(Timed::every(Duration::from_secs(3_600)).unwrap()).await;
}

/// Handlers do not wait long for a cache whose thread is blocked. That cache serves nothing older than the event.
#[actix::test]
async fn a_late_cache_stops_answering() {
    let (url, herald) = scene(TriggerSpec::of::<Counter>().unwrap()).await;
    let reader = Reader::new(client(&url).await);
    // The subscription of this cache is open, but its driver never applies an event.
    let (handle, mut driver) = cache().build().unwrap();
    let subscription = herald.open(driver.filter(), driver.subscription()).await;
    let mut subscription = subscription.unwrap();
    let first = subscription.recv().await.unwrap();
    driver.apply(&first, std::time::Instant::now());
    let nothing = tokio::time::timeout(Duration::ZERO, subscription.recv()).await;
    assert!(nothing.is_err());
    assert!(handle.is_live());
    reader.cache.set(handle.clone()).unwrap();
    assert_eq!(reader.read(1).await, 0);
    start_handler(&herald, &reader).await;
    let sql = "UPDATE counters SET value = value + 1 WHERE id = 1";
    client(&url).await.batch_execute(sql).await.unwrap();
    let wait = async {
        while reader.seen.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LIMIT, wait).await.unwrap();
    assert_fresh(&reader);
    assert!(!handle.is_live());
    // The cache answers again once it has caught up.
    let catch_up = async {
        while !handle.is_live() {
            let delivery = subscription.recv().await.unwrap();
            driver.apply(&delivery, std::time::Instant::now());
        }
    };
    tokio::time::timeout(LIMIT, catch_up).await.unwrap();
    assert_eq!(reader.read(1).await, 1);
}
