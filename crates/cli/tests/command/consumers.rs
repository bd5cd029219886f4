//! Consumers in this process, on whose groups the commands work.

use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use pgherald_core::group::{Consumer, ConsumerHandle};
use pgherald_core::{
    Attempt, Backoff, ConnectConfig, DurableOptions, Event, EventHandler, HandlerError,
    HandlerResult, KeyPart, Resync, RetryPolicy,
};
use tokio::task::LocalSet;

use super::support::{DEADLINE, Running, Scene};

/// Creates a database in which table `jobs (id, value)` is recorded with its values.
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

/// Runs a test on a `LocalSet`, because handlers are not `Send`.
pub(crate) async fn local<T>(test: impl Future<Output = T>) -> T {
    LocalSet::new().run_until(test).await
}

/// Starts a consumer of the group, from the beginning. `plan` returns the result of an attempt from the job's id. The delay after
/// a failure is long.
pub(crate) fn start(
    scene: &Scene,
    group: &str,
    plan: impl Fn(i64) -> HandlerResult + 'static,
) -> ConsumerHandle {
    // Delays are drawn evenly from zero up to the limit. With this limit, none ends during a test.
    let years = Duration::from_secs(10 * 365 * 86_400);
    let options = DurableOptions::new(group)
        .from_beginning()
        .slices(4)
        .retry(RetryPolicy::new(12, Backoff::new(years, years)));
    let plan: Rc<dyn Fn(i64) -> HandlerResult> = Rc::new(plan);
    let config: ConnectConfig = scene.url.parse().unwrap();
    let config = config.application_name("worker");
    let (handle, consumer) =
        Consumer::new(config, options, move || Work(Rc::clone(&plan))).unwrap();
    tokio::task::spawn_local(consumer.run());
    handle
}

/// Jobs up to 9 fail permanently, 10 to 19 fail and are retried, and all others succeed.
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

/// Stops the consumer.
pub(crate) async fn stop(handle: &ConsumerHandle) {
    handle.drain(DEADLINE).await;
}

/// Waits until a query returns the expected text.
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

/// The number of slices with a consumer.
pub(crate) const OWNED: &str = "SELECT count(node)::text FROM pgherald.consumer_slice";

/// Sends SIGINT, as Ctrl-C does.
pub(crate) fn interrupt(running: &Running) {
    let pid = rustix::process::Pid::from_raw(running.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
}
