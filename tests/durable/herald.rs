//! Durable handlers as actors that a herald starts and shuts down.

use std::time::Duration;

use pgherald::group::{Batch, BatchHandler, Group, TransactionalHandler};
use pgherald::trigger::TriggerSpec;
use pgherald::{
    Attempt, Durable, Event, EventHandler, Filter, GetReport, HandlerResult, Herald, TableName,
};
use tokio_postgres::Transaction;

use crate::support::{LIMIT, Scene};

const NOTE: &str = "INSERT INTO effects (id, value) VALUES ($1, 1)";

struct Nothing;

impl EventHandler for Nothing {
    type Event = Event;
    async fn handle(&self, _: Event, _: Attempt) -> HandlerResult {
        Ok(())
    }
}

impl BatchHandler for Nothing {
    type Event = Event;
    async fn handle(&self, batch: &mut Batch<Event>) -> HandlerResult {
        assert!(!batch.events().is_empty());
        Ok(())
    }
}

struct Note;

impl TransactionalHandler for Note {
    type Event = Event;
    async fn handle(
        &self,
        _: Event,
        _: Attempt,
        transaction: &mut Transaction<'_>,
    ) -> HandlerResult {
        transaction.execute(NOTE, &[&1_i32]).await?;
        Ok(())
    }
}

fn jobs() -> TriggerSpec {
    TriggerSpec::new(TableName::new("public", "jobs").unwrap()).every_column()
}

#[actix::test]
async fn handlers_of_each_kind_are_run_and_drained() {
    let scene = Scene::new().await;
    let herald = Herald::connect(scene.config())
        .watch_with(jobs().outbox())
        .start()
        .await
        .unwrap();
    let terms = |group| Durable::new(group).from_beginning();
    let plain = herald.durable(terms("plain"), || Nothing).unwrap();
    let batches = herald.batches(terms("batches"), || Nothing).unwrap();
    herald
        .transactional(terms("transactional"), || Note)
        .unwrap();
    scene
        .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 50) AS n")
        .await;
    let deadline = tokio::time::Instant::now() + LIMIT;
    loop {
        let (one, two) = (
            plain.send(GetReport).await.unwrap(),
            batches.send(GetReport).await.unwrap(),
        );
        let effects = scene.number("SELECT count(*) FROM effects").await;
        if (one.handled, two.handled, effects) == (50, 50, 50) {
            break;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "{one:?} {two:?} {effects}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let report = herald.shutdown(LIMIT).await.unwrap();
    assert!(report.is_complete(), "{report}");
    let handled: Vec<u64> = report
        .handlers
        .iter()
        .map(|report| report.handled)
        .collect();
    assert_eq!(handled, [50, 50, 50]);
    assert!(!plain.connected(), "the actor has stopped");
    let client = std::sync::Arc::new(scene.connect().await);
    for status in Group::all(&client).await.unwrap() {
        assert_eq!(
            (status.nodes, status.lag_events, status.parked),
            (0, 0, 0),
            "{status:?}"
        );
    }
}

#[actix::test]
async fn a_handler_that_would_be_given_nothing_is_refused() {
    let scene = Scene::new().await;
    let herald = Herald::connect(scene.config())
        .watch_with(jobs())
        .start()
        .await
        .unwrap();
    let error = herald.durable(Durable::new("g"), || Nothing).unwrap_err();
    assert!(
        error.is_config() && error.to_string().contains("outbox"),
        "{error}"
    );
    let herald = Herald::connect(scene.config())
        .watch_with(jobs().outbox())
        .start()
        .await
        .unwrap();
    let others = Durable::new("g").filter(Filter::new().table("public", "others"));
    let error = herald.durable(others, || Nothing).unwrap_err();
    assert!(
        error.is_config() && error.to_string().contains("outbox"),
        "{error}"
    );
    let error = herald.durable(Durable::new(""), || Nothing).unwrap_err();
    assert!(error.is_config(), "{error}");
}

#[actix::test]
async fn an_actor_that_is_stopped_leaves_its_work_to_the_next() {
    let scene = Scene::new().await;
    let terms = || {
        Durable::new("g")
            .from_beginning()
            .lease(Duration::from_millis(500))
    };
    for round in 1..4 {
        let (handle, consumer) =
            pgherald::group::Consumer::transactional(scene.config(), terms(), || Note).unwrap();
        let actor = actix::Actor::start(pgherald::DurableActor::new(handle.clone(), consumer));
        scene
            .run(&format!("INSERT INTO jobs VALUES ({round}, 1)"))
            .await;
        crate::support::report(&handle, "handled", |report| report.handled == 1).await;
        // Not drained: its lease has to run out.
        drop(actor);
    }
    assert_eq!(scene.number("SELECT count(*) FROM effects").await, 3);
}
