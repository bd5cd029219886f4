//! The setup that most tests share.

use std::time::Duration;

use actix::{Actor, Addr};
use pgherald::trigger::{self, TriggerSpec};
use pgherald::{
    Backoff, ConnectConfig, Filter, ListenerActor, NotifySource, NotifySourceBuilder, OutboxSource,
    OutboxSourceBuilder, Source, Subscribe, SubscribeHealth, TableName,
};
use pgherald_testkit::{Postgres, Probe, Seen};
use tokio_postgres::Client;

/// How long a test waits for an expected condition before it fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Waits for the future. Fails if it takes longer than [`DEADLINE`].
#[allow(dead_code, reason = "for some suites")]
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap()
}

/// Creates a database on the server that all tests of this process share.
pub(crate) async fn database() -> String {
    Postgres::shared()
        .await
        .unwrap()
        .create_database()
        .await
        .unwrap()
}

pub(crate) fn config(url: &str) -> ConnectConfig {
    url.parse().unwrap()
}

pub(crate) async fn client(url: &str) -> Client {
    config(url).application_name("test").client().await.unwrap()
}

/// A source with short intervals, so that it detects faults and retries quickly.
pub(crate) fn source(url: &str) -> NotifySourceBuilder {
    NotifySource::builder(config(url).application_name("listener"))
        .heartbeat(Duration::from_millis(200), Duration::from_millis(500))
        .connect_timeout(Duration::from_secs(5))
        .backoff(Backoff::new(
            Duration::from_millis(10),
            Duration::from_millis(200),
        ))
}

/// Creates a database whose table `t` is recorded in the outbox.
pub(crate) async fn recorded(server: &Postgres) -> (String, TriggerSpec) {
    let url = server.create_database().await.unwrap();
    let client = client(&url).await;
    client
        .batch_execute("CREATE TABLE t (n bigint PRIMARY KEY)")
        .await
        .unwrap();
    let spec = TriggerSpec::new(TableName::new("public", "t").unwrap()).outbox();
    let plan = trigger::plan(&client, std::slice::from_ref(&spec)).await;
    plan.unwrap().apply(&client).await.unwrap();
    (url, spec)
}

/// A source of the outbox with short intervals, so that it detects faults and retries quickly.
pub(crate) fn outbox(url: &str, spec: TriggerSpec) -> OutboxSourceBuilder {
    OutboxSource::builder(config(url))
        .watch(spec)
        .heartbeat(Duration::from_millis(200), Duration::from_millis(500))
        .backoff(Backoff::new(
            Duration::from_millis(10),
            Duration::from_millis(50),
        ))
}

/// Starts a listener on `source`, and a probe that receives all events and its health.
pub(crate) async fn listen(source: NotifySourceBuilder) -> (Addr<ListenerActor>, Probe) {
    listen_to(source.factory().unwrap()).await
}

/// Like [`listen`], on any source.
pub(crate) async fn listen_to<S: Source>(
    build: impl Fn() -> S + Send + 'static,
) -> (Addr<ListenerActor>, Probe) {
    let listener = ListenerActor::new(build).start();
    let probe = Probe::start();
    subscribe(&listener, &probe, Filter::new()).await;
    listener
        .send(SubscribeHealth(probe.health()))
        .await
        .unwrap();
    (listener, probe)
}

pub(crate) async fn subscribe(listener: &Addr<ListenerActor>, probe: &Probe, filter: Filter) {
    listener
        .send(Subscribe::to("probe", filter, probe.events()))
        .await
        .unwrap()
        .unwrap();
}

pub(crate) async fn live(probe: &Probe) -> Seen {
    let live = |seen: &Seen| seen.health().last().is_some_and(pgherald::Health::is_live);
    probe.wait_for("live", DEADLINE, live).await.unwrap()
}

pub(crate) async fn not_live(probe: &Probe) -> Seen {
    let degraded = |seen: &Seen| {
        matches!(
            seen.health().last(),
            Some(pgherald::Health::Degraded { .. })
        )
    };
    probe
        .wait_for("degraded", DEADLINE, degraded)
        .await
        .unwrap()
}

/// The cause of being degraded.
pub(crate) fn cause(seen: &Seen) -> pgherald::Error {
    match seen.health().last() {
        Some(pgherald::Health::Degraded { cause, .. }) => cause.clone(),
        other => panic!("not degraded but {other:?}"),
    }
}

/// Creates a table with the key `n`, and installs triggers on it. Returns their specification.
pub(crate) async fn watched_table(client: &Client, name: &str) -> TriggerSpec {
    let sql = format!("CREATE TABLE \"{name}\" (n bigint PRIMARY KEY, note text)");
    client.batch_execute(&sql).await.unwrap();
    let spec = TriggerSpec::new(TableName::new("public", name).unwrap());
    install(client, &spec).await;
    spec
}

pub(crate) async fn install(client: &Client, spec: &TriggerSpec) {
    let plan = trigger::plan(client, std::slice::from_ref(spec))
        .await
        .unwrap();
    plan.apply(client).await.unwrap();
}

pub(crate) async fn insert(client: &Client, table: &str, n: i64) {
    let sql = format!("INSERT INTO \"{table}\" VALUES ($1)");
    client.execute(&sql, &[&n]).await.unwrap();
}

/// Keys of the events seen, as numbers. Events about a whole table are left out.
pub(crate) fn numbers(seen: &Seen) -> Vec<i64> {
    use pgherald::Key;
    seen.events()
        .filter_map(|event| i64::from_row_key(event.key()?))
        .collect()
}
