//! Actors need actix. Where it does not run, that is an error that names the way out.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use pgherald::{
    Attempt, CacheBuilder, Durable, Ephemeral, Error, Event, EventHandler, HandlerResult, Herald,
};

use crate::support::{client, config, database, watched_table};

struct Ignore;

impl EventHandler for Ignore {
    type Event = Event;

    async fn handle(&self, _: Event, _: Attempt) -> HandlerResult {
        Ok(())
    }
}

fn names_the_way_out(error: &Error) {
    let told = format!("{}; {}", error.chain(), error.hint());
    assert!(error.is_config(), "{told}");
    assert!(told.contains("#[actix::main]"), "{told}");
}

#[tokio::test]
async fn a_herald_on_plain_tokio_names_the_way_out() {
    let url = database().await;
    let spec = watched_table(&client(&url).await, "t").await;
    let herald = Herald::connect(config(&url)).watch_with(spec).start().await;
    names_the_way_out(&herald.unwrap_err());
}

#[test]
fn a_herald_without_any_runtime_names_the_way_out() {
    let config = config("postgresql://u@127.0.0.1:1/d");
    let starting = Herald::connect(config.clone()).install_triggers().start();
    let mut context = Context::from_waker(Waker::noop());
    match pin!(starting).poll(&mut context) {
        Poll::Ready(outcome) => names_the_way_out(&outcome.unwrap_err()),
        Poll::Pending => panic!("it waits for something"),
    }
    match pin!(config.client()).poll(&mut context) {
        Poll::Ready(outcome) => {
            let error = outcome.unwrap_err();
            assert!(
                error.is_config() && error.chain().contains("tokio"),
                "{error:?}"
            );
        }
        Poll::Pending => panic!("it waits for something"),
    }
}

#[actix::test]
async fn a_herald_that_was_moved_to_plain_tokio_names_the_way_out() {
    let url = database().await;
    let client = client(&url).await;
    let spec = watched_table(&client, "t").await;
    let herald = Herald::connect(config(&url)).watch_with(spec).start();
    let herald = herald.await.unwrap();
    let outbox = Herald::connect(config(&url))
        .watch_with(
            pgherald::trigger::TriggerSpec::new(pgherald::TableName::new("public", "t").unwrap())
                .outbox(),
        )
        .start_without_waiting();
    let outbox = outbox.await.unwrap();
    let elsewhere = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let handler = herald.handler(Ephemeral::new("h"), || Ignore).await;
            names_the_way_out(&handler.unwrap_err());
            let cache = herald.cache(CacheBuilder::<i64, i64>::new("c")).await;
            names_the_way_out(&cache.unwrap_err());
            let durable = outbox.durable(Durable::new("d"), || Ignore);
            names_the_way_out(&durable.unwrap_err());
        });
    });
    tokio::task::spawn_blocking(move || elsewhere.join().unwrap())
        .await
        .unwrap();
}
