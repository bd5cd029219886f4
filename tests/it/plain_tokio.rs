//! A herald on tokio's runtimes, without an actix system.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pgherald::trigger::TriggerSpec;
use pgherald::{
    Attempt, CacheBuilder, DurableOptions, EphemeralOptions, Error, Event, EventHandler, Filter,
    HandlerResult, Herald, Inserted, Operation, SubscriptionOptions, Table,
};
use tokio::sync::mpsc;

use crate::support::{client, config, database};

const LIMIT: Duration = Duration::from_secs(20);

#[derive(Table)]
#[table(name = "notes", key = "id")]
struct Note {
    #[allow(dead_code, reason = "the field names the key column")]
    id: i64,
}

#[derive(Table)]
#[table(name = "jobs", key = "id")]
struct Job {
    #[allow(dead_code, reason = "the field names the key column")]
    id: i64,
}

const TABLES: &str = "CREATE TABLE notes (id bigint PRIMARY KEY, body text); \
                      CREATE TABLE jobs (id bigint PRIMARY KEY)";

/// Forwards the key of each event.
struct Forward(mpsc::Sender<i64>);

impl EventHandler for Forward {
    type Event = Inserted<Job>;

    async fn handle(&self, job: Inserted<Job>, _: Attempt) -> HandlerResult {
        self.0.send(job.key).await?;
        Ok(())
    }
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future)
        .await
        .unwrap_or_else(|_| panic!("{what} does not happen"))
}

/// Runs caches, handlers of both kinds, and a subscription without an actor.
async fn every_part_works() {
    let url = database().await;
    let writer = client(&url).await;
    writer.batch_execute(TABLES).await.unwrap();
    let herald = Herald::builder(config(&url))
        .watch::<Note>()
        .unwrap()
        .watch_with(TriggerSpec::of::<Job>().unwrap().outbox())
        .install_triggers()
        .start()
        .await
        .unwrap();
    let herald = Arc::new(herald);
    let (ephemeral, mut seen) = mpsc::channel(8);
    let (durable, mut consumed) = mpsc::channel(8);
    let make = move || Forward(ephemeral.clone());
    herald
        .start_handler(EphemeralOptions::new("e"), make)
        .await
        .unwrap();
    // Start from a task that may move between threads.
    let (shared, make) = (Arc::clone(&herald), move || Forward(durable.clone()));
    let starting =
        tokio::spawn(async move { shared.start_durable(DurableOptions::new("d"), make).await });
    starting.await.unwrap().unwrap();
    let bodies = herald
        .start_cache(CacheBuilder::<i64, String>::new("bodies").row_of::<Note>())
        .await
        .unwrap();
    let filter = Filter::new().table("public", "notes");
    let options = SubscriptionOptions::new("open");
    let mut open = herald.open(filter, options).await.unwrap();

    writer
        .batch_execute("INSERT INTO jobs VALUES (7); INSERT INTO notes VALUES (1, 'old')")
        .await
        .unwrap();
    assert_eq!(soon("an ephemeral attempt", seen.recv()).await, Some(7));
    assert_eq!(soon("a durable attempt", consumed.recv()).await, Some(7));
    let insert = async {
        loop {
            let delivery = open.recv().await.unwrap();
            if let Some(event) = delivery.events().first() {
                return event.clone();
            }
        }
    };
    let insert: Event = soon("an event of the subscription", insert).await;
    assert_eq!(insert.operation(), Operation::Insert);

    soon("a live cache", async {
        while !bodies.is_live() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    bodies
        .get_or_load(1, async || Ok::<_, Error>("old".to_owned()))
        .await
        .unwrap();
    let sql = "UPDATE notes SET body = 'new'";
    writer.batch_execute(sql).await.unwrap();
    soon("an invalidation", async {
        while bodies.get(&1).is_some() {
            tokio::task::yield_now().await;
        }
    })
    .await;

    let report = herald.shutdown(LIMIT).await.unwrap();
    assert!(report.is_complete(), "{report}");
    assert_eq!(report.handlers.len(), 2);
    let late = CacheBuilder::<i64, i64>::new("late").row_of::<Note>();
    let error = herald.start_cache(late).await.unwrap_err();
    assert!(error.to_string().contains("shut down"), "{error}");
    soon("the end of the subscription", async {
        while open.recv().await.is_some() {}
    })
    .await;
}

#[tokio::test]
async fn every_part_works_on_a_current_thread_runtime() {
    every_part_works().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_part_works_on_a_multi_thread_runtime() {
    every_part_works().await;
}

/// A handler that blocks its thread until the test releases it.
struct Block(std::sync::mpsc::SyncSender<()>, Arc<std::sync::Barrier>);

impl EventHandler for Block {
    type Event = Inserted<Job>;

    async fn handle(&self, _: Inserted<Job>, _: Attempt) -> HandlerResult {
        let _ = self.0.send(());
        self.1.wait();
        Ok(())
    }
}

/// Caches apply events while a handler blocks its thread.
async fn a_blocked_handler_does_not_delay_caches() {
    let url = database().await;
    let writer = client(&url).await;
    writer.batch_execute(TABLES).await.unwrap();
    let herald = Herald::builder(config(&url))
        .watch::<Note>()
        .unwrap()
        .watch::<Job>()
        .unwrap()
        .install_triggers()
        .start()
        .await
        .unwrap();
    let (sender, blocked) = std::sync::mpsc::sync_channel(1);
    let barrier = Arc::new(std::sync::Barrier::new(2));
    let release = Arc::clone(&barrier);
    let make = move || Block(sender.clone(), Arc::clone(&barrier));
    herald
        .start_handler(EphemeralOptions::new("b"), make)
        .await
        .unwrap();
    let bodies = herald
        .start_cache(CacheBuilder::<i64, String>::new("bodies").row_of::<Note>())
        .await
        .unwrap();
    writer
        .batch_execute("INSERT INTO notes VALUES (1, 'old')")
        .await
        .unwrap();
    // Read on another thread: under actix, the handler blocks the test's thread.
    let reader = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let writer = client(&url).await;
            soon("a live cache", async {
                while !bodies.is_live() {
                    tokio::task::yield_now().await;
                }
            })
            .await;
            let load = async || Ok::<_, Error>("old".to_owned());
            bodies.get_or_load(1, load).await.unwrap();
            let sql = "INSERT INTO jobs VALUES (1)";
            writer.batch_execute(sql).await.unwrap();
            blocked.recv_timeout(LIMIT).unwrap();
            let sql = "UPDATE notes SET body = 'new'";
            writer.batch_execute(sql).await.unwrap();
            soon("an invalidation", async {
                while bodies.get(&1).is_some() {
                    tokio::task::yield_now().await;
                }
            })
            .await;
            release.wait();
        });
    });
    tokio::task::spawn_blocking(move || reader.join().unwrap())
        .await
        .unwrap();
    herald.shutdown(LIMIT).await.unwrap();
}

#[actix::test]
async fn a_blocked_handler_does_not_delay_caches_under_actix() {
    a_blocked_handler_does_not_delay_caches().await;
}

#[tokio::test]
async fn a_blocked_handler_does_not_delay_caches_on_a_current_thread_runtime() {
    a_blocked_handler_does_not_delay_caches().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_blocked_handler_does_not_delay_caches_on_a_multi_thread_runtime() {
    a_blocked_handler_does_not_delay_caches().await;
}

/// The connections of a herald that was never shut down end with the runtime that started it.
#[test]
fn the_threads_of_a_herald_end_with_its_runtime() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
    };
    let (first, second) = (runtime(), runtime());
    let url = second.block_on(database());
    let herald = first.block_on(async {
        client(&url).await.batch_execute(TABLES).await.unwrap();
        Herald::builder(config(&url).application_name("left behind"))
            .watch::<Note>()
            .unwrap()
            .install_triggers()
            .start()
            .await
            .unwrap()
    });
    drop(first);
    second.block_on(async {
        let client = client(&url).await;
        let sql =
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'left behind%'";
        soon("the end of the connection", async {
            while client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        let error = herald.shutdown(LIMIT).await.unwrap_err();
        assert!(error.to_string().contains("shut down"), "{error}");
    });
}

fn assert_hint(error: &Error, hint: &str) {
    let message = format!("{}; {}", error.chain(), error.hint());
    assert!(error.is_config(), "{message}");
    assert!(message.contains(hint), "{message}");
}

#[test]
fn starting_a_herald_without_a_runtime_returns_a_hint() {
    let config = config("postgresql://u@127.0.0.1:1/d");
    let starting = Herald::builder(config.clone()).install_triggers().start();
    let mut context = Context::from_waker(Waker::noop());
    match pin!(starting).poll(&mut context) {
        Poll::Ready(outcome) => assert_hint(&outcome.unwrap_err(), "#[tokio::main]"),
        Poll::Pending => panic!("start does not return at once"),
    }
    match pin!(config.client()).poll(&mut context) {
        Poll::Ready(outcome) => {
            let error = outcome.unwrap_err();
            assert!(
                error.is_config() && error.chain().contains("tokio"),
                "{error:?}"
            );
        }
        Poll::Pending => panic!("start does not return at once"),
    }
}

#[tokio::test]
async fn requiring_an_arbiter_on_plain_tokio_returns_a_hint() {
    let herald = Herald::builder(config("postgresql://u@127.0.0.1:1/d")).on_current_arbiter();
    assert_hint(&herald.start().await.unwrap_err(), "#[actix::main]");
}
