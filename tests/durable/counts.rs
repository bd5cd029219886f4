//! What an event and an idle moment cost, counted in statements of the server's log and in rows that are written.
//!
//! These counts must not grow with tables, groups or slices that an event does not concern.

use std::time::Duration;

use pgherald_core::group::{Connections, ConsumerHandle, ConsumerReport};
use pgherald_core::trigger::{self, TriggerSpec};
use pgherald_core::{
    ConnectConfig, NotifySource, NotifySourceBuilder, OutboxSource, OutboxSourceBuilder, Signal,
    Source, TableName,
};
use pgherald_testkit::Postgres;

use crate::support::{LIMIT, Log, Scene, all_well, drained, local, options, report, until};

/// A server that logs each statement after its time, in seconds, and the name of its session.
struct Logged {
    server: Postgres,
    scene: Scene,
}

impl Logged {
    async fn start() -> Self {
        let server = Postgres::builder()
            .setting("log_statement", "all")
            .setting("log_line_prefix", "%n|%a|");
        let server = server.start().await.unwrap();
        let scene = Scene::at(server.create_database().await.unwrap()).await;
        Self { server, scene }
    }

    /// The first lines of the statements of pgherald's sessions with their times, in their order.
    fn statements(&self) -> Vec<(f64, String)> {
        let log = std::fs::read_to_string(self.server.log_file()).unwrap();
        let statement = |line: &str| {
            let (time, line) = line.split_once("|pgherald")?;
            let (_, line) = line.split_once("|LOG:  ")?;
            let (kind, statement) = line.split_once(": ")?;
            let is_statement = kind == "statement" || kind.starts_with("execute");
            is_statement.then(|| (time.parse().unwrap(), statement.to_owned()))
        };
        log.lines().filter_map(statement).collect()
    }
}

const ROUNDS: usize = 10;

fn table(name: &str) -> TriggerSpec {
    TriggerSpec::new(TableName::new("public", name).unwrap()).every_column()
}

/// Returns the statements of `ROUNDS` heartbeats of a source that watches this many tables.
async fn heartbeats<S: Source>(
    tables: usize,
    spec: impl Fn(&str) -> TriggerSpec,
    source: impl Fn(ConnectConfig, Vec<TriggerSpec>) -> S,
) -> Vec<String> {
    let logged = Logged::start().await;
    let scene = &logged.scene;
    let names: Vec<_> = (0..tables).map(|number| format!("t{number}")).collect();
    let create = |name| format!("CREATE TABLE {name} (id int PRIMARY KEY);");
    scene
        .run(&names.iter().map(create).collect::<String>())
        .await;
    let specs: Vec<_> = names.iter().map(|name| spec(name)).collect();
    let plan = trigger::plan(&scene.client, &specs).await.unwrap();
    plan.apply(&scene.client).await.unwrap();
    let mut source = source(scene.config(), specs);
    while !matches!(source.next().await, Signal::Live) {}
    let is_first = |(_, statement): &(f64, String)| statement.starts_with(HEARTBEAT);
    let beats = || {
        logged
            .statements()
            .iter()
            .filter(|each| is_first(each))
            .count()
    };
    let enough = beats() + ROUNDS;
    let has_more_beats = until(
        "heartbeats",
        || beats() > enough,
        || format!("{:#?}", logged.statements()),
    );
    tokio::select! {
        signal = source.next() => panic!("{signal:?}"),
        () = has_more_beats => {}
    }
    let statements = logged.statements();
    let beats = statements
        .iter()
        .enumerate()
        .filter(|(_, each)| is_first(each));
    let beats: Vec<_> = beats.map(|(place, _)| place).collect();
    let last = beats.len() - 1;
    let statements = &statements[beats[last - ROUNDS]..beats[last]];
    statements
        .iter()
        .map(|(_, statement)| statement.clone())
        .collect()
}

/// How the statement begins that each heartbeat starts with.
const HEARTBEAT: &str = "-- Returns one row for each existing table";

/// How the statement begins that finds the rows to read.
const LOOK: &str = "WITH RECURSIVE point";

const INTERVAL: Duration = Duration::from_millis(50);

#[tokio::test]
async fn heartbeats_of_few_and_of_many_tables_are_as_many_statements() {
    for tables in [1, 40] {
        let notify = |config, specs: Vec<_>| {
            let source = NotifySource::builder(config).heartbeat(INTERVAL, LIMIT);
            let source = specs.into_iter().fold(source, NotifySourceBuilder::watch);
            source.build().unwrap()
        };
        // The fingerprints of the tables, and the channels.
        let statements = heartbeats(tables, table, notify).await;
        assert_eq!(
            statements.len(),
            2 * ROUNDS,
            "{tables} tables: {statements:#?}"
        );
        let outbox = |config, specs: Vec<_>| {
            // Polls are statements too.
            let source = OutboxSource::builder(config).poll_interval(LIMIT);
            let source = source.heartbeat(INTERVAL, LIMIT);
            let source = specs.into_iter().fold(source, OutboxSourceBuilder::watch);
            source.build().unwrap()
        };
        let statements = heartbeats(tables, |name| table(name).outbox(), outbox).await;
        assert!(
            statements.len() <= 4 * ROUNDS,
            "{tables} tables: {statements:#?}"
        );
    }
}

/// Starts groups on shared connections, and waits until each owns its slices.
async fn groups(scene: &Scene, count: usize, slices: u16) -> Vec<ConsumerHandle> {
    let connections = Connections::new(scene.config());
    let start = |number| {
        let options = options(&format!("g{number}")).slices(slices);
        // Each renewal of a lease is a few statements, which are not to be counted.
        let options = options.lease(Duration::from_secs(3_600));
        let options = options.connections(connections.clone());
        scene.start(options, &Log::default(), all_well())
    };
    let handles: Vec<_> = (0..count).map(start).collect();
    for handle in &handles {
        let all = |report: &ConsumerReport| report.slices == usize::from(slices);
        report(handle, "connected", all).await;
    }
    handles
}

#[tokio::test]
async fn idle_groups_look_at_the_outbox_together() {
    local(async {
        let logged = Logged::start().await;
        let handles = groups(&logged.scene, 12, 8).await;
        logged.scene.run("INSERT INTO jobs VALUES (0, 1)").await;
        for handle in &handles {
            report(handle, "handled", |report| report.handled == 1).await;
        }
        // The outbox is looked at each second while nothing happens. If each group did so, twelve looks would take a second.
        let looks = || {
            let statements = logged.statements();
            let looks = statements
                .into_iter()
                .filter(|(_, each)| each.starts_with(LOOK));
            looks.map(|(time, _)| time).collect::<Vec<_>>()
        };
        let rests = || looks().windows(6).any(|looks| looks[5] - looks[0] > 4.5);
        until("rest", rests, || format!("{:?}", looks())).await;
        drop(handles);
    })
    .await;
}

#[tokio::test]
async fn an_event_moves_the_cursor_of_one_slice() {
    local(async {
        let scene = Scene::new().await;
        let handles = groups(&scene, 1, 256).await;
        let places = "CREATE TABLE places AS
            SELECT slice, ctid AS place FROM pgherald.consumer_cursor";
        scene.run(places).await;
        let moved = "SELECT count(*) FROM pgherald.consumer_cursor AS c
            JOIN places AS p USING (slice) WHERE c.ctid <> p.place";
        scene.run("INSERT INTO jobs VALUES (0, 1)").await;
        scene.becomes(moved, 1).await;
        drained(&handles[0]).await;
        drop(handles);
    })
    .await;
}

#[tokio::test]
async fn a_backlog_is_acknowledged_in_few_statements() {
    local(async {
        const EVENTS: usize = 20_000;
        let logged = Logged::start().await;
        let sql = format!("INSERT INTO jobs SELECT n, 1 FROM generate_series(1, {EVENTS}) AS n");
        logged.scene.run(&sql).await;
        let handles = groups(&logged.scene, 1, 256).await;
        let all = |report: &ConsumerReport| report.handled == EVENTS as u64;
        report(&handles[0], "handled", all).await;
        drained(&handles[0]).await;
        // About 30 statements move cursors, and 40 read pages. A slow machine needs more, because the time between two of
        // the former has a limit.
        let statements = logged.statements();
        assert!(
            statements.len() < EVENTS / 10,
            "{} statements",
            statements.len()
        );
    })
    .await;
}
