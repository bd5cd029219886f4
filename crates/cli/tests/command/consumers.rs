//! Consumers that run in this process, to have something to look at.

use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use pgherald_core::group::{Consumer, ConsumerHandle};
use pgherald_core::{
    Attempt, Backoff, ConnectConfig, Durable, Event, EventHandler, HandlerError, HandlerResult,
    KeyPart, Resync, RetryPolicy,
};
use tokio::task::LocalSet;

use super::support::{DEADLINE, Running, Scene};

/// Table `jobs (id, value)` is recorded with its values.
pub(crate) async fn scene() -> Scene {
    let scene = Scene::new("CREATE TABLE jobs (id int PRIMARY KEY, value text)").await;
    let install = [
        "install",
        "jobs",
        "--mode",
        "outbox",
        "--columns",
        "*",
        "--old-columns",
        "--commit",
    ];
    scene.fine(&install).await;
    scene
}

/// Handlers are not `Send`.
pub(crate) async fn local<T>(test: impl Future<Output = T>) -> T {
    LocalSet::new().run_until(test).await
}

/// Starts a consumer of the group, from the beginning. `plan` says of a job's id what becomes of an attempt; after a
/// failure there is a long wait.
pub(crate) fn start(
    scene: &Scene,
    group: &str,
    plan: impl Fn(i64) -> HandlerResult + 'static,
) -> ConsumerHandle {
    let wait = Duration::from_secs(600);
    let terms = Durable::new(group)
        .from_beginning()
        .slices(4)
        .retry(RetryPolicy::new(12, Backoff::new(wait, wait)));
    let plan: Rc<dyn Fn(i64) -> HandlerResult> = Rc::new(plan);
    let config: ConnectConfig = scene.url.parse().unwrap();
    let config = config.application_name("worker");
    let (handle, consumer) = Consumer::new(config, terms, move || Work(Rc::clone(&plan))).unwrap();
    tokio::task::spawn_local(consumer.run());
    handle
}

/// 1 to 9 are given up, 10 to 19 fail and wait, all others go well.
pub(crate) fn tens(id: i64) -> HandlerResult {
    match id {
        ..10 => Err(HandlerError::permanent(format!("no {id}\nat all"))),
        10..20 => Err("not now".into()),
        _ => Ok(()),
    }
}

struct Work(Rc<dyn Fn(i64) -> HandlerResult>);

impl EventHandler for Work {
    type Event = Event;

    async fn handle(&self, event: Event, _: Attempt) -> HandlerResult {
        let Some([KeyPart::Int(id)]) = event.key().map(|key| key.parts()) else {
            panic!("{event}");
        };
        (self.0)(*id)
    }

    async fn resync(&self, _: Resync) -> HandlerResult {
        Ok(())
    }
}

/// Stops it.
pub(crate) async fn stop(handle: &ConsumerHandle) {
    handle.drain(DEADLINE).await;
}

/// Waits until a query for text gives this one.
pub(crate) async fn becomes(scene: &Scene, sql: &str, expected: &str) {
    let begun = std::time::Instant::now();
    loop {
        let found = scene.value(sql).await;
        if found == expected {
            return;
        }
        assert!(begun.elapsed() < DEADLINE, "{sql}: {found}, not {expected}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) const DEAD: &str =
    "SELECT count(*)::text FROM pgherald.parked_event WHERE dead_at IS NOT NULL";
pub(crate) const PARKED: &str =
    "SELECT count(*)::text FROM pgherald.parked_event WHERE dead_at IS NULL";
pub(crate) const LAG: &str = "SELECT sum(lag_events)::text FROM pgherald.consumer_group_status";

/// Slices that somebody has.
pub(crate) const OWNED: &str = "SELECT count(node)::text FROM pgherald.consumer_slice";

/// Sends the signal of Ctrl-C.
pub(crate) fn interrupt(running: &Running) {
    let pid = rustix::process::Pid::from_raw(running.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
}
