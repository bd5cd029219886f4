//! Durable handlers as actors that a herald starts and shuts down.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pgherald::group::{Batch, BatchHandler, Group, TransactionalHandler};
use pgherald::trigger::{self, TriggerSpec};
use pgherald::{
    Attempt, Backoff, DurableOptions, EphemeralOptions, Event, EventHandler, Filter, GetReport,
    HandlerError, HandlerResult, Health, Herald, Key, Operation, RetryPolicy, TableName,
};
use tokio_postgres::Transaction;

use crate::support::{LIMIT, Scene, YEARS};

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
    let herald = Herald::builder(scene.config())
        .watch_with(jobs().outbox())
        .start()
        .await
        .unwrap();
    let options = |group| DurableOptions::new(group).from_beginning();
    let plain = herald
        .start_durable(options("plain"), || Nothing)
        .await
        .unwrap();
    let batches = herald
        .start_batches(options("batches"), || Nothing)
        .await
        .unwrap();
    herald
        .start_transactional(options("transactional"), || Note)
        .await
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

/// Fails at even ids, and permanently from 100 on.
struct Fails;

impl EventHandler for Fails {
    type Event = Event;

    async fn handle(&self, event: Event, _: Attempt) -> HandlerResult {
        let key = event.key().ok_or("no key")?;
        match i64::from_row_key(key).ok_or("no number")? {
            100.. => Err(HandlerError::permanent("never")),
            id if id % 2 == 0 => Err("not now".into()),
            _ => Ok(()),
        }
    }
}

#[actix::test]
async fn reports_at_shutdown_count_failed_attempts_parked_events_and_dead_letters() {
    let scene = Scene::new().await;
    let herald = Herald::builder(scene.config())
        .watch_with(jobs().outbox())
        .start()
        .await
        .unwrap();
    let later = Backoff::new(YEARS, YEARS);
    let durable = DurableOptions::new("g")
        .from_beginning()
        .retry(RetryPolicy::new(12, later));
    herald.start_durable(durable, || Fails).await.unwrap();
    let once = RetryPolicy::new(1, later);
    let ephemeral = EphemeralOptions::new("e").retry(once);
    let ephemeral = herald.start_handler(ephemeral, || Fails).await.unwrap();
    herald.live().await.unwrap();
    scene
        .run("INSERT INTO jobs SELECT n, 0 FROM generate_series(1, 40) AS n; INSERT INTO jobs VALUES (100, 0)")
        .await;
    let written = "SELECT count(*) FROM pgherald.parked_event";
    scene.becomes(written, 21).await;
    scene
        .becomes(
            "SELECT sum(lag_events)::bigint FROM pgherald.consumer_group_status",
            0,
        )
        .await;
    // The initial resync and each event.
    while ephemeral.send(GetReport).await.unwrap().received < 42 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let report = herald.shutdown(LIMIT).await.unwrap();
    let [durable, ephemeral] = &report.handlers[..] else {
        panic!("{report}");
    };
    assert_eq!(
        (
            durable.received,
            durable.handled,
            durable.parked,
            durable.given_up
        ),
        (41, 20, 20, 1),
        "{report}"
    );
    // Some may have been retried already, because delays have jitter.
    let failed = durable.failed_attempts();
    assert!(failed >= 21 && durable.dead_letters == 1, "{report}");
    let expected = format!(
        "g: 41 received, 20 handled, {failed} attempts failed, 1 given up, 0 dropped, 1 dead letters, 20 parked"
    );
    assert_eq!(durable.to_string(), expected);
    let expected = "e: 42 received, 21 handled, 21 attempts failed, 21 given up, 0 dropped";
    assert_eq!(ephemeral.to_string(), expected);
    assert!(
        report
            .to_string()
            .contains("\ne: 41 delivered, 0 unconfirmed"),
        "{report}"
    );
}

#[actix::test]
async fn a_durable_handler_that_would_receive_no_events_is_rejected() {
    let scene = Scene::new().await;
    let herald = Herald::builder(scene.config())
        .watch_with(jobs())
        .start_without_waiting()
        .await
        .unwrap();
    let error = herald
        .start_durable(DurableOptions::new("g"), || Nothing)
        .await
        .unwrap_err();
    assert!(
        error.is_config() && error.to_string().contains("outbox"),
        "{error}"
    );
    let herald = Herald::builder(scene.config())
        .watch_with(jobs().outbox())
        .start()
        .await
        .unwrap();
    let others = DurableOptions::new("g").filter(Filter::new().table("public", "others"));
    let error = herald.start_durable(others, || Nothing).await.unwrap_err();
    assert!(
        error.is_config() && error.to_string().contains("outbox"),
        "{error}"
    );
    let error = herald
        .start_durable(DurableOptions::new(""), || Nothing)
        .await
        .unwrap_err();
    assert!(error.is_config(), "{error}");
}

#[actix::test]
async fn a_stopped_actor_leaves_its_events_to_the_next_consumer() {
    let scene = Scene::new().await;
    let options = || {
        DurableOptions::new("g")
            .from_beginning()
            .lease(Duration::from_millis(500))
    };
    for round in 1..4 {
        let (handle, consumer) =
            pgherald::group::Consumer::transactional(scene.config(), options(), || Note).unwrap();
        let actor = actix::Actor::start(pgherald::DurableActor::new(handle.clone(), consumer));
        scene
            .run(&format!("INSERT INTO jobs VALUES ({round}, 1)"))
            .await;
        crate::support::report(&handle, "handled", |report| report.handled == 1).await;
        // The actor was not drained, so its lease has to expire.
        drop(actor);
    }
    assert_eq!(scene.number("SELECT count(*) FROM effects").await, 3);
}

/// Handles events slowly, and counts attempts that begin and end.
#[derive(Clone, Default)]
struct Slow {
    begun: Arc<AtomicU32>,
    ended: Arc<AtomicU32>,
    hangs: bool,
}

impl EventHandler for Slow {
    type Event = Event;

    async fn handle(&self, _: Event, _: Attempt) -> HandlerResult {
        self.begun.fetch_add(1, Ordering::Relaxed);
        if self.hangs {
            return std::future::pending().await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.ended.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn resync(&self, _: pgherald::Resync) -> HandlerResult {
        Ok(())
    }
}

impl TransactionalHandler for Slow {
    type Event = Event;

    async fn handle(
        &self,
        event: Event,
        attempt: Attempt,
        _: &mut Transaction<'_>,
    ) -> HandlerResult {
        EventHandler::handle(self, event, attempt).await
    }
}

impl Slow {
    fn hanging() -> Self {
        Self {
            hangs: true,
            ..Self::default()
        }
    }

    fn make(&self) -> impl Fn() -> Self + use<> {
        let this = self.clone();
        move || this.clone()
    }

    async fn wait_for_attempts(&self, count: u32) {
        let shown = || format!("{} begun", self.begun.load(Ordering::Relaxed));
        crate::support::until(
            "begun",
            || self.begun.load(Ordering::Relaxed) >= count,
            shown,
        )
        .await;
    }
}

#[actix::test]
async fn durable_handlers_begin_no_attempts_after_a_shutdown_while_an_ephemeral_one_hangs() {
    let scene = Scene::new().await;
    let herald = Herald::builder(scene.config())
        .watch_with(jobs().outbox())
        .start()
        .await
        .unwrap();
    herald.live().await.unwrap();
    let (hanging, plain, transactional) = (Slow::hanging(), Slow::default(), Slow::default());
    let options = EphemeralOptions::new("hanging")
        .concurrency(1)
        .timeout(LIMIT);
    herald.start_handler(options, hanging.make()).await.unwrap();
    let options = |group| DurableOptions::new(group).from_beginning().concurrency(4);
    herald
        .start_durable(options("plain"), plain.make())
        .await
        .unwrap();
    herald
        .start_transactional(options("transactional"), transactional.make())
        .await
        .unwrap();
    // More events than the hanging handler takes in.
    scene
        .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 3000) AS n")
        .await;
    hanging.wait_for_attempts(1).await;
    plain.wait_for_attempts(1).await;
    transactional.wait_for_attempts(1).await;
    let before = (
        plain.begun.load(Ordering::Relaxed),
        transactional.begun.load(Ordering::Relaxed),
    );
    let report = herald.shutdown(Duration::from_secs(2)).await.unwrap();
    assert!(!report.is_complete(), "{report}");
    for (slow, before) in [(plain, before.0), (transactional, before.1)] {
        let (begun, ended) = (
            slow.begun.load(Ordering::Relaxed),
            slow.ended.load(Ordering::Relaxed),
        );
        assert_eq!(begun, ended, "attempts were cut off");
        assert!(
            begun - before <= 8,
            "{} attempts began after the stop",
            begun - before
        );
    }
}

#[actix::test]
async fn a_hanging_durable_handler_does_not_block_the_shutdown_of_others() {
    let scene = Scene::new().await;
    let herald = Herald::builder(scene.config())
        .watch_with(jobs().outbox())
        .start()
        .await
        .unwrap();
    herald.live().await.unwrap();
    let (hanging, other, ephemeral) = (Slow::hanging(), Slow::default(), Slow::default());
    let options = |group| DurableOptions::new(group).from_beginning().timeout(LIMIT);
    herald
        .start_durable(options("hanging"), hanging.make())
        .await
        .unwrap();
    herald
        .start_durable(options("other"), other.make())
        .await
        .unwrap();
    let options = EphemeralOptions::new("ephemeral").concurrency(1);
    herald
        .start_handler(options, ephemeral.make())
        .await
        .unwrap();
    scene
        .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 40) AS n")
        .await;
    hanging.wait_for_attempts(1).await;
    other.wait_for_attempts(1).await;
    ephemeral.wait_for_attempts(1).await;
    // The ephemeral handler needs more than 0.8 s for its events. The hanging one uses the whole deadline.
    let report = herald.shutdown(Duration::from_secs(5)).await.unwrap();
    assert_eq!(
        other.begun.load(Ordering::Relaxed),
        other.ended.load(Ordering::Relaxed)
    );
    assert_eq!(ephemeral.ended.load(Ordering::Relaxed), 40, "{report}");
    assert_eq!(report.handlers.len(), 3);
    assert_eq!(report.handlers[2].dropped, 0, "{report}");
}

#[actix::test]
async fn durable_handlers_are_drained_after_the_listener_has_stopped() {
    let scene = Scene::new().await;
    let herald = Herald::builder(scene.config())
        .watch_with(jobs().outbox())
        .start()
        .await
        .unwrap();
    let slow = Slow::default();
    herald
        .start_durable(
            DurableOptions::new("g").from_beginning().slices(1),
            slow.make(),
        )
        .await
        .unwrap();
    scene
        .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 100) AS n")
        .await;
    slow.wait_for_attempts(1).await;
    let stopped = herald.listener().clone();
    stopped
        .send(pgherald::Shutdown { deadline: LIMIT })
        .await
        .unwrap();
    herald.shutdown(LIMIT).await.unwrap();
    assert_eq!(
        slow.begun.load(Ordering::Relaxed),
        slow.ended.load(Ordering::Relaxed)
    );
    let nodes = "SELECT count(*) FROM pgherald.consumer_node";
    assert_eq!(scene.number(nodes).await, 0, "the consumer has left");
}

/// Two programs that watch the same table each install what they need.
#[actix::test]
async fn a_second_program_does_not_narrow_the_installation_of_the_first() {
    let scene = Scene::new().await;
    let program = |spec: TriggerSpec| Herald::builder(scene.config()).watch_with(spec);
    let is_as_installed = async |spec: TriggerSpec| {
        let drifts = trigger::verify(&scene.client, &[spec]).await.unwrap();
        drifts.is_empty()
    };
    let announced = TriggerSpec::new(TableName::new("public", "jobs").unwrap());
    let outcome = program(announced.clone()).install_triggers().start().await;
    let error = outcome.unwrap_err();
    let why = "recording changes in the outbox";
    assert!(
        error.is_config() && error.to_string().contains(why),
        "{error}"
    );
    let fewer = announced.outbox().operations(Operation::Insert);
    let first = program(fewer.clone())
        .install_triggers()
        .start()
        .await
        .unwrap();
    assert!(is_as_installed(jobs().outbox()).await);
    // The first program stays live: the installation covers what it watches.
    let mut health = first.health();
    health.wait_for(Health::is_live).await.unwrap();
    let exactly = program(fewer).install_triggers_exactly().start();
    let second = exactly.await.unwrap();
    assert!(!is_as_installed(jobs().outbox()).await);
    for herald in [first, second] {
        herald.shutdown(LIMIT).await.unwrap();
    }
}
