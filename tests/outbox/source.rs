//! The outbox as a source of signals: rows committed while the source is disconnected arrive later as events.

use std::time::Duration;

use actix::{Actor, Addr};
use pgherald::{
    Backoff, ConnectConfig, Filter, Health, ListenerActor, NotifySource, OutboxSource,
    OutboxSourceBuilder, Subscribe, SubscribeHealth, TableName,
};
use pgherald_core::__private::host::events::{Split, Watches};
use pgherald_core::outbox::{Retention, set_retention, trim};
use pgherald_core::trigger::{self, TriggerSpec};
use pgherald_testkit::{FaultProxy, Postgres, Probe, Seen};
use tokio_postgres::Client;

use crate::support::{connect, shown};

/// How long a test waits for an expected condition before it fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Longer than any test, so that the failsafe poll never runs.
pub(crate) const NEVER: Duration = Duration::from_secs(3_600);

struct Stage {
    url: String,
    client: Client,
}

impl Stage {
    async fn new(url: String) -> Self {
        let client = connect(&url).await;
        let stage = Self { url, client };
        stage
            .run("CREATE TABLE counters (id int PRIMARY KEY, value bigint)")
            .await;
        stage.install().await;
        stage
    }

    async fn shared() -> Self {
        let server = Postgres::shared().await.unwrap();
        Self::new(server.create_database().await.unwrap()).await
    }

    async fn install(&self) {
        let plan = trigger::plan(&self.client, &[spec()]).await.unwrap();
        plan.apply(&self.client).await.unwrap();
    }

    async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    async fn insert(&self, id: i32) {
        self.run(&format!("INSERT INTO counters VALUES ({id}, 1)"))
            .await;
    }
}

fn spec() -> TriggerSpec {
    let table = TableName::new("public", "counters").unwrap();
    TriggerSpec::new(table).columns(["value"]).outbox()
}

/// A source that detects faults and retries quickly. It polls only after a wake-up.
fn source(url: &str) -> OutboxSourceBuilder {
    let config: ConnectConfig = url.parse().unwrap();
    OutboxSource::builder(config.application_name("listener"))
        .watch(spec())
        .heartbeat(Duration::from_millis(200), Duration::from_millis(500))
        .connect_timeout(Duration::from_secs(5))
        .poll_interval(NEVER)
        .backoff(Backoff::new(
            Duration::from_millis(10),
            Duration::from_millis(200),
        ))
}

pub(crate) async fn listen(source: OutboxSourceBuilder) -> (Addr<ListenerActor>, Probe) {
    let listener = ListenerActor::new(source.factory().unwrap()).start();
    let probe = Probe::start();
    let subscribe = Subscribe::to("probe", Filter::new(), probe.events());
    listener.send(subscribe).await.unwrap().unwrap();
    let health = SubscribeHealth(probe.health());
    listener.send(health).await.unwrap();
    (listener, probe)
}

pub(crate) async fn seen(probe: &Probe, what: &str, condition: impl Fn(&Seen) -> bool) -> Seen {
    probe.wait_for(what, DEADLINE, condition).await.unwrap()
}

/// Waits until the listener has become live `times` times, and is live.
pub(crate) async fn live(probe: &Probe, times: usize) -> Seen {
    let lives = |seen: &Seen| {
        seen.health()
            .iter()
            .filter(|health| health.is_live())
            .count()
    };
    seen(probe, "live", |seen| {
        seen.health().last().is_some_and(Health::is_live) && lives(seen) >= times
    })
    .await
}

pub(crate) async fn not_live(probe: &Probe) -> Seen {
    seen(probe, "down", |seen| {
        matches!(seen.health().last(), Some(Health::Degraded { .. }))
    })
    .await
}

pub(crate) fn cause(seen: &Seen) -> String {
    match seen.health().last() {
        Some(Health::Degraded { cause, .. }) => cause.chain(),
        other => panic!("not degraded but {other:?}"),
    }
}

pub(crate) fn rows(seen: &Seen) -> Vec<String> {
    seen.events().map(shown).collect()
}

pub(crate) fn resyncs(seen: &Seen) -> Vec<String> {
    seen.resyncs().map(ToString::to_string).collect()
}

#[actix::test]
async fn events_arrive_once() {
    let stage = Stage::shared().await;
    stage.insert(1).await;
    let (_listener, probe) = listen(source(&stage.url)).await;
    live(&probe, 1).await;
    for id in 2..5 {
        stage.insert(id).await;
    }
    let seen = seen(&probe, "row 4", |seen| rows(seen).len() >= 3).await;
    assert_eq!(
        rows(&seen),
        ["2=1", "3=1", "4=1"],
        "rows committed before the start are not events"
    );
    assert_eq!(resyncs(&seen), ["started"]);
}

#[actix::test]
async fn a_backlog_of_many_pages_arrives_in_order() {
    let stage = Stage::shared().await;
    let (_listener, probe) = listen(source(&stage.url)).await;
    live(&probe, 1).await;
    stage
        .run("INSERT INTO counters SELECT n, 1 FROM generate_series(1, 5000) AS n")
        .await;
    let seen = seen(&probe, "all", |seen| seen.events().count() >= 5_000).await;
    let expected: Vec<String> = (1..=5_000).map(|n| format!("{n}=1")).collect();
    assert_eq!(rows(&seen), expected);
}

#[actix::test]
async fn an_open_transaction_does_not_delay_other_rows() {
    let stage = Stage::shared().await;
    // The open transaction has claimed the wake-up, so other writers may skip it. The poll finds their rows.
    let source = source(&stage.url).poll_interval(Duration::from_millis(100));
    let (_listener, probe) = listen(source).await;
    live(&probe, 1).await;
    let late = connect(&stage.url).await;
    late.batch_execute("BEGIN; INSERT INTO counters VALUES (1, 1)")
        .await
        .unwrap();
    stage.insert(2).await;
    seen(&probe, "row 2", |seen| rows(seen) == ["2=1"]).await;
    late.batch_execute("COMMIT").await.unwrap();
    let seen = seen(&probe, "all", |seen| rows(seen).len() >= 2).await;
    assert_eq!(rows(&seen), ["2=1", "1=1"]);
    assert_eq!(resyncs(&seen), ["started"]);
}

/// Writes rows while the connection is lost by `fault`, and checks that the source delivers them.
async fn assert_no_row_is_missed(stage: &mut Stage, url: &str, fault: impl AsyncFn(&mut Stage)) {
    let (_listener, probe) = listen(source(url)).await;
    live(&probe, 1).await;
    stage.insert(1).await;
    seen(&probe, "row 1", |seen| rows(seen) == ["1=1"]).await;
    fault(stage).await;
    let seen_at_last = live(&probe, 2).await;
    // The rows arrived before the source was live.
    assert_eq!(rows(&seen_at_last)[..4], ["1=1", "2=1", "3=1", "4=1"]);
    stage.insert(5).await;
    let seen = seen(&probe, "row 5", |seen| rows(seen).len() >= 5).await;
    assert_eq!(rows(&seen), ["1=1", "2=1", "3=1", "4=1", "5=1"]);
    assert_eq!(resyncs(&seen), ["started"], "no resync is needed");
}

async fn insert_some(stage: &Stage) {
    for id in 2..5 {
        stage.insert(id).await;
    }
}

#[actix::test]
async fn rows_committed_while_the_session_was_terminated_arrive_as_events() {
    let server = Postgres::start().await.unwrap();
    let mut stage = Stage::new(server.url()).await;
    stage
        .run(
            "CREATE ROLE app LOGIN; GRANT USAGE ON SCHEMA pgherald TO app;
             GRANT SELECT ON ALL TABLES IN SCHEMA pgherald TO app;
             GRANT SELECT ON ALL SEQUENCES IN SCHEMA pgherald TO app",
        )
        .await;
    let url = format!("postgresql://app@127.0.0.1:{}/postgres", server.port());
    assert_no_row_is_missed(&mut stage, &url, async |stage| {
        // The session cannot come back before the rows are written.
        stage.run("ALTER ROLE app NOLOGIN").await;
        server.terminate_backends(Some("listener")).await.unwrap();
        insert_some(stage).await;
        stage.run("ALTER ROLE app LOGIN").await;
    })
    .await;
}

#[actix::test]
async fn rows_committed_around_a_restart_arrive_as_events() {
    let server = Postgres::start().await.unwrap();
    let mut stage = Stage::new(server.url()).await;
    let proxy = FaultProxy::start((server.host(), server.port()))
        .await
        .unwrap();
    let url = proxy.url(&stage.url);
    assert_no_row_is_missed(&mut stage, &url, async |stage| {
        proxy.refuse();
        proxy.cut();
        stage.insert(2).await;
        server.restart().await.unwrap();
        stage.client = connect(&stage.url).await;
        stage.insert(3).await;
        stage.insert(4).await;
        proxy.resume();
    })
    .await;
}

#[actix::test]
async fn rows_committed_while_the_network_was_down_arrive_as_events() {
    let mut stage = Stage::shared().await;
    let server = Postgres::shared().await.unwrap();
    let proxy = FaultProxy::start((server.host(), server.port()))
        .await
        .unwrap();
    let url = proxy.url(&stage.url);
    assert_no_row_is_missed(&mut stage, &url, async |stage| {
        proxy.refuse();
        proxy.cut();
        insert_some(stage).await;
        proxy.resume();
    })
    .await;
}

#[actix::test]
async fn a_half_open_connection_is_detected_and_no_row_is_missed() {
    let mut stage = Stage::shared().await;
    let server = Postgres::shared().await.unwrap();
    let proxy = FaultProxy::start((server.host(), server.port()))
        .await
        .unwrap();
    let url = proxy.url(&stage.url);
    assert_no_row_is_missed(&mut stage, &url, async |stage| {
        proxy.stall();
        insert_some(stage).await;
        // Wait until the heartbeat has given the connection up.
        let given_up = async {
            while proxy.connections() < 2 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, given_up).await.unwrap();
        proxy.resume();
    })
    .await;
}

#[actix::test]
async fn a_server_crash_causes_a_resync() {
    let server = Postgres::start().await.unwrap();
    let stage = Stage::new(server.url()).await;
    let (_listener, probe) = listen(source(&stage.url)).await;
    live(&probe, 1).await;
    server.kill().await.unwrap();
    server.start_again().await.unwrap();
    let seen = live(&probe, 2).await;
    assert_eq!(resyncs(&seen), ["started", "reconnected"]);
    // The server of a crashed backend restarts by itself, with the same start time of the postmaster.
    let killer = connect(&stage.url).await;
    let kill = "DO $$ BEGIN EXECUTE format('COPY (SELECT 1) TO PROGRAM ''kill -9 %s''', pid)
        FROM pg_stat_activity WHERE application_name = 'listener'; END $$";
    // The session may end before it receives the result.
    let _ = killer.batch_execute(kill).await;
    let seen = live(&probe, 3).await;
    assert_eq!(resyncs(&seen), ["started", "reconnected", "reconnected"]);
}

#[actix::test]
async fn a_sequence_that_was_set_back_causes_a_resync() {
    let stage = Stage::shared().await;
    let (_listener, probe) = listen(source(&stage.url)).await;
    live(&probe, 1).await;
    stage
        .run("INSERT INTO counters SELECT n, 1 FROM generate_series(1, 100) AS n")
        .await;
    seen(&probe, "all", |seen| seen.events().count() >= 100).await;
    // The difference has a floor that was read after those rows got their ids.
    stage.insert(1_000).await;
    seen(&probe, "one more", |seen| seen.events().count() >= 101).await;
    stage.run("SELECT setval('pgherald.outbox_id', 50)").await;
    stage.insert(101).await;
    let seen_at_last = live(&probe, 2).await;
    assert_eq!(resyncs(&seen_at_last), ["started", "reconnected"]);
    stage.insert(102).await;
    let last = |seen: &Seen| rows(seen).last().is_some_and(|row| row == "102=1");
    seen(&probe, "row 102", last).await;
}

#[actix::test]
async fn rows_trimmed_before_they_were_read_cause_a_resync() {
    let stage = Stage::shared().await;
    let server = Postgres::shared().await.unwrap();
    let proxy = FaultProxy::start((server.host(), server.port()))
        .await
        .unwrap();
    let (_listener, probe) = listen(source(&proxy.url(&stage.url))).await;
    live(&probe, 1).await;
    proxy.refuse();
    proxy.cut();
    not_live(&probe).await;
    stage.insert(1).await;
    let nothing = Retention::new(Duration::ZERO);
    set_retention(&stage.client, nothing).await.unwrap();
    for _ in 0..2 {
        trim(&stage.client).await.unwrap();
    }
    stage.insert(2).await;
    proxy.resume();
    live(&probe, 2).await;
    let seen = seen(&probe, "row 2", |seen| rows(seen) == ["2=1"]).await;
    let announced = resyncs(&seen);
    assert!(
        announced.len() > 1
            && announced[1..]
                .iter()
                .all(|announced| announced == "trimmed"),
        "{announced:?}"
    );
}

#[actix::test]
async fn an_undecodable_row_becomes_a_resync_in_commit_order() {
    let stage = Stage::shared().await;
    let (_listener, probe) = listen(source(&stage.url)).await;
    live(&probe, 1).await;
    stage
        .run(
            "BEGIN; INSERT INTO counters VALUES (1, 1), (2, 1), (3, 1);
             UPDATE pgherald.outbox SET key = '{' WHERE key = '2'; COMMIT",
        )
        .await;
    let seen = seen(&probe, "row 3", |seen| rows(seen).len() >= 2).await;
    let log: Vec<String> = seen
        .log()
        .iter()
        .map(|sight| match sight {
            pgherald_testkit::Sight::Resync(resync) => resync.to_string(),
            pgherald_testkit::Sight::Events(events) => events.iter().map(shown).collect(),
        })
        .collect();
    assert_eq!(log, ["started", "1=1", "undecodable", "3=1"]);
}

#[actix::test]
async fn the_source_is_not_live_while_triggers_are_disabled() {
    let stage = Stage::shared().await;
    let (_listener, probe) = listen(source(&stage.url)).await;
    live(&probe, 1).await;
    stage.run("ALTER TABLE counters DISABLE TRIGGER ALL").await;
    let seen = not_live(&probe).await;
    assert!(cause(&seen).contains("disabled"), "{}", cause(&seen));
    stage.insert(1).await;
    stage.run("ALTER TABLE counters ENABLE TRIGGER ALL").await;
    let seen = live(&probe, 2).await;
    // There are two resyncs if the source inspected the triggers in between.
    let announced = &resyncs(&seen)[1..];
    let restored = announced
        .iter()
        .all(|announced| announced == "triggers_restored");
    assert!(restored && !announced.is_empty(), "{announced:?}");
}

#[actix::test]
async fn triggers_disabled_while_disconnected_cause_a_resync() {
    let stage = Stage::shared().await;
    let server = Postgres::shared().await.unwrap();
    let proxy = FaultProxy::start((server.host(), server.port()))
        .await
        .unwrap();
    let (_listener, probe) = listen(source(&proxy.url(&stage.url))).await;
    live(&probe, 1).await;
    proxy.refuse();
    proxy.cut();
    not_live(&probe).await;
    stage.run("ALTER TABLE counters DISABLE TRIGGER ALL").await;
    stage.insert(1).await;
    stage.run("ALTER TABLE counters ENABLE TRIGGER ALL").await;
    stage.insert(2).await;
    proxy.resume();
    let seen = live(&probe, 2).await;
    assert_eq!(resyncs(&seen), ["started", "triggers_restored"]);
    assert_eq!(rows(&seen), ["2=1"]);
}

#[actix::test]
async fn ddl_while_disconnected_causes_a_resync_before_further_events() {
    let stage = Stage::shared().await;
    let server = Postgres::shared().await.unwrap();
    let proxy = FaultProxy::start((server.host(), server.port()))
        .await
        .unwrap();
    let (_listener, probe) = listen(source(&proxy.url(&stage.url))).await;
    live(&probe, 1).await;
    proxy.refuse();
    proxy.cut();
    not_live(&probe).await;
    stage
        .run("ALTER TABLE counters ALTER COLUMN value TYPE bigint USING value * 100")
        .await;
    stage.insert(2).await;
    proxy.resume();
    let seen = live(&probe, 2).await;
    assert_eq!(resyncs(&seen), ["started", "table_altered"]);
    assert_eq!(rows(&seen), ["2=1"]);
}

#[actix::test]
async fn a_table_renamed_to_a_watched_name_is_not_mistaken_for_the_watched_table() {
    let stage = Stage::shared().await;
    let (_listener, probe) = listen(source(&stage.url)).await;
    live(&probe, 1).await;
    let others = "CREATE TABLE others (id int PRIMARY KEY, value bigint)";
    stage.run(others).await;
    let table = TableName::new("public", "others").unwrap();
    let spec = [TriggerSpec::new(table).outbox().columns(["value"])];
    let plan = trigger::plan(&stage.client, &spec).await.unwrap();
    plan.apply(&stage.client).await.unwrap();
    stage
        .run("ALTER TABLE counters RENAME TO x; ALTER TABLE others RENAME TO counters; ALTER TABLE x RENAME TO others")
        .await;
    let seen = not_live(&probe).await;
    assert!(
        cause(&seen).contains("under another name"),
        "{}",
        cause(&seen)
    );
    stage.install().await;
    let seen = live(&probe, 2).await;
    assert_eq!(resyncs(&seen).last().unwrap(), "triggers_restored");
    stage.insert(3).await;
    seen_rows(&probe, 1).await;
}

#[actix::test]
async fn triggers_in_notify_mode_count_as_missing() {
    let stage = Stage::shared().await;
    let table = TableName::new("public", "counters").unwrap();
    let announced = [TriggerSpec::new(table).columns(["value"])];
    let plan = trigger::plan(&stage.client, &announced).await.unwrap();
    plan.apply(&stage.client).await.unwrap();
    let (_listener, probe) = listen(source(&stage.url)).await;
    let seen = not_live(&probe).await;
    assert!(cause(&seen).contains("other mode"), "{}", cause(&seen));
    stage.install().await;
    live(&probe, 1).await;
}

#[actix::test]
async fn a_missing_outbox_is_reported_and_retried() {
    let server = Postgres::shared().await.unwrap();
    let url = server.create_database().await.unwrap();
    let (_listener, probe) = listen(source(&url)).await;
    let down = not_live(&probe).await;
    assert!(cause(&down).contains("no outbox"), "{}", cause(&down));
    let stage = Stage::new(url).await;
    live(&probe, 1).await;
    // The outbox is created again while it is read, so ids begin again.
    for id in 1..5 {
        stage.insert(id).await;
    }
    seen_rows(&probe, 4).await;
    let plan = trigger::plan_uninstall_all(&stage.client).await.unwrap();
    plan.apply(&stage.client).await.unwrap();
    stage.install().await;
    let announced = |seen: &Seen| {
        resyncs(seen)
            .last()
            .is_some_and(|announced| announced != "started")
    };
    seen(&probe, "a resync", announced).await;
    live(&probe, 2).await;
    stage.insert(5).await;
    seen_rows(&probe, 5).await;
}

async fn seen_rows(probe: &Probe, count: usize) {
    seen(probe, "rows", |seen| rows(seen).len() >= count).await;
}

/// Waits until the source is idle. Only a wake-up or the failsafe poll finds later rows.
async fn idle(stage: &Stage) {
    let sql = "SELECT count(*) FROM pg_stat_activity
        WHERE application_name = 'listener' AND datname = current_database() AND state = 'idle'
            AND clock_timestamp() - state_change > interval '200 ms'";
    let idle = async {
        while stage
            .client
            .query_one(sql, &[])
            .await
            .unwrap()
            .get::<_, i64>(0)
            == 0
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, idle).await.unwrap();
}

#[actix::test]
async fn a_wake_up_delivers_its_row_and_following_ones_at_once() {
    let stage = Stage::shared().await;
    let (_listener, probe) = listen(source(&stage.url).heartbeat(NEVER, NEVER)).await;
    live(&probe, 1).await;
    for round in 0..3 {
        idle(&stage).await;
        // Only the first insert sends a wake-up.
        for id in 1..4 {
            stage.insert(round * 10 + id).await;
        }
        let count = (round as usize + 1) * 3;
        seen(&probe, "all", |seen| rows(seen).len() >= count).await;
    }
}

#[actix::test]
async fn the_failsafe_poll_finds_rows_without_a_wake_up() {
    let stage = Stage::shared().await;
    let server = Postgres::shared().await.unwrap();
    let proxy = FaultProxy::start((server.host(), server.port()))
        .await
        .unwrap();
    let source = source(&proxy.url(&stage.url))
        .heartbeat(NEVER, NEVER)
        .poll_interval(Duration::from_secs(1));
    let (_listener, probe) = listen(source).await;
    live(&probe, 1).await;
    idle(&stage).await;
    // The transaction that has claimed the wake-up rolls back. One that commits right afterwards sends none.
    stage
        .run("BEGIN; INSERT INTO counters VALUES (1, 1); ROLLBACK; INSERT INTO counters VALUES (2, 1)")
        .await;
    seen(&probe, "row 2", |seen| rows(seen) == ["2=1"]).await;
    proxy.deafen();
    idle(&stage).await;
    stage.insert(3).await;
    seen(&probe, "row 3", |seen| rows(seen) == ["2=1", "3=1"]).await;
}

/// A full page takes longer than the heartbeat allows, so the source tries smaller ones.
#[actix::test]
async fn a_backlog_of_large_rows_is_read_over_a_slow_network() {
    let stage = Stage::shared().await;
    let server = Postgres::shared().await.unwrap();
    let proxy = FaultProxy::start((server.host(), server.port()))
        .await
        .unwrap();
    stage.run("ALTER TABLE counters ADD filler text").await;
    let spec = spec().columns(["value", "filler"]);
    let plan = trigger::plan(&stage.client, std::slice::from_ref(&spec)).await;
    plan.unwrap().apply(&stage.client).await.unwrap();
    let (_listener, probe) = listen(source(&proxy.url(&stage.url))).await;
    live(&probe, 1).await;
    proxy.refuse();
    proxy.cut();
    not_live(&probe).await;
    stage
        .run("INSERT INTO counters SELECT n, 1, repeat('x', 20000) FROM generate_series(1, 300) AS n")
        .await;
    proxy.delay(Duration::from_millis(4));
    let seen = live(&probe, 2).await;
    assert_eq!(seen.events().count(), 300);
    assert_eq!(resyncs(&seen), ["started"]);
}

#[actix::test]
async fn invalid_settings_are_rejected_by_name() {
    let config: ConnectConfig = "postgresql://h/d".parse().unwrap();
    let builder = || OutboxSource::builder(config.clone());
    let table = TableName::new("public", "counters").unwrap();
    let error = builder()
        .watch(TriggerSpec::new(table))
        .build()
        .unwrap_err();
    assert!(
        error.is_config() && error.to_string().contains("TriggerSpec::outbox"),
        "{error}"
    );
    let error = builder().poll_interval(Duration::ZERO).build().unwrap_err();
    assert!(
        error.is_config() && error.to_string().contains("poll interval"),
        "{error}"
    );
    let notify = || NotifySource::builder(config.clone()).watch(spec());
    let error = notify().build().unwrap_err();
    assert!(
        error.is_config() && error.to_string().contains("OutboxSource"),
        "{error}"
    );
    let (_, recorded) = notify().split_outbox();
    assert_eq!(recorded.watched(), [spec()]);
}
