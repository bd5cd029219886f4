//! Each privilege that `grant` grants is needed: without it, some operation of the purpose fails.

use std::sync::Arc;
use std::time::Duration;

use pgherald_core::__private::host::group::rehearse;
use pgherald_core::group::{Consumer, Group, Seek};
use pgherald_core::trigger::TriggerSpec;
use pgherald_core::{
    Attempt, DurableOptions, Event, EventHandler, HandlerResult, Health, OutboxSource, Signal,
    Source, TableName, outbox,
};
use pgherald_testkit::Postgres;
use tokio::task::spawn_local;

use super::{CONSUMERS, TABLES, install, role};
use crate::consumers::local;
use crate::support::{DEADLINE, Ran, Scene, connect};

/// Parts of the messages of the server and of pgherald if a right is missing.
const REFUSALS: [&str; 2] = ["permission denied", "may not"];

/// The operations that failed because a right is missing.
#[derive(Default)]
struct Failures(Vec<String>);

impl Failures {
    fn note<T>(&mut self, what: &str, done: Result<T, impl ToString>) {
        let Err(error) = done else { return };
        let error = error.to_string();
        let is_refusal = REFUSALS.iter().any(|part| error.contains(part));
        assert!(is_refusal, "{what}: {error}");
        self.0.push(format!("{what}: {error}"));
    }
}

fn core<T>(done: pgherald_core::Result<T>) -> Result<T, String> {
    done.map_err(|error| error.chain())
}

fn server<T>(done: Result<T, tokio_postgres::Error>) -> Result<T, String> {
    done.map_err(|error| {
        error
            .as_db_error()
            .map_or(error.to_string(), ToString::to_string)
    })
}

fn command(ran: &Ran) -> Result<(), String> {
    match ran.code {
        0 => Ok(()),
        _ => Err(format!("{}{}", ran.stdout, ran.stderr)),
    }
}

fn jobs() -> TriggerSpec {
    let table = TableName::new("public", "jobs").unwrap();
    TriggerSpec::new(table).every_column().outbox()
}

/// Returns the privileges that `grant` grants to a new role, with their objects. PUBLIC must have none of them.
async fn privileges(scene: &Scene, name: &str, purpose: &str) -> Vec<(String, String)> {
    let shown = scene
        .json(&["grant", name, "--to", purpose, "--commit"])
        .await;
    let sql = shown[0]["sql"].as_str().unwrap();
    let mut all = Vec::new();
    for line in sql.lines() {
        let Some(granted) = line.strip_prefix("GRANT ") else {
            continue;
        };
        let (privileges, rest) = granted.split_once(" ON ").unwrap();
        let (objects, _) = rest.rsplit_once(" TO ").unwrap();
        let kinds = ["SCHEMA ", "SEQUENCE ", "FUNCTION "];
        let kind = kinds.into_iter().find(|kind| objects.starts_with(kind));
        let kind = kind.unwrap_or_default();
        for object in objects.trim_start_matches(kind).split(", ") {
            for privilege in privileges.split(", ") {
                all.push((privilege.to_owned(), format!("{kind}{object}")));
            }
        }
    }
    all
}

/// Runs the operations of a role that reads.
async fn reads(scene: &Scene, role: &Scene) -> Failures {
    let mut failures = Failures::default();
    let config = role.url.parse().unwrap();
    let source = OutboxSource::builder(config).watch(jobs());
    let mut source = source.build().unwrap();
    let following = async {
        let mut is_live = false;
        loop {
            match source.next().await {
                Signal::Down(error) => return Err(error.chain()),
                Signal::Live if !is_live => {
                    is_live = true;
                    let write = "INSERT INTO jobs SELECT max(id) + 1 FROM jobs";
                    scene.run(write).await;
                }
                Signal::Events(_) => return Ok(()),
                _ => {}
            }
        }
    };
    let followed = tokio::time::timeout(DEADLINE, following).await.unwrap();
    failures.note("follow an outbox source", followed);
    let client = Arc::new(connect(&role.url).await);
    let group = Group::new(&client, "g");
    failures.note("status of a group", core(group.status().await));
    failures.note("parked events", core(group.parked(None, 9).await));
    failures.note("status of the outbox", core(outbox::status(&client).await));
    let rows = server(client.batch_execute("TABLE pgherald.outbox_event").await);
    failures.note("look at the outbox", rows);
    let ran = role.pgherald(&["dead-letters", "list"]).await;
    failures.note("dead-letters list", command(&ran));
    let ran = role.pgherald(&["status", "--json"]).await;
    failures.note("status", command(&ran));
    // `status` shows what the role may read, and reports the rest.
    if let Ok(shown) = serde_json::from_str::<serde_json::Value>(&ran.stdout) {
        let hidden = shown["hidden"].as_str();
        failures.note("status", hidden.map_or(Ok(()), Err));
        let is_shown = shown["requirements"][0]["group"] == "g";
        let unseen = "this role may not see what groups require";
        failures.note("status", is_shown.then_some(()).ok_or(unseen));
    }
    // Findings other than the missing right itself.
    for finding in crate::doctor::wrong(role, &[]).await {
        let text = finding["finding"].as_str().unwrap();
        let is_other = finding["check"] != "rights" && !text.contains(CONSUMERS);
        if is_other && text.contains("permission denied") {
            failures.note("doctor", Err::<(), _>(text));
        }
    }
    failures
}

struct Ignore;

impl EventHandler for Ignore {
    type Event = Event;

    async fn handle(&self, _: Event, _: Attempt) -> HandlerResult {
        Ok(())
    }
}

/// Runs the operations of a role that consumes.
async fn consumes(role: &Scene) -> Failures {
    let mut failures = Failures::default();
    let client = Arc::new(connect(&role.url).await);
    failures.note("the statements of consumers", core(rehearse(&client).await));
    let group = Group::new(&client, "g");
    failures.note("pause", core(group.pause().await));
    failures.note("resume", core(group.resume().await));
    failures.note("seek", core(group.seek(Seek::Now).await));
    failures.note("retry", core(group.retry_dead_letters(None).await));
    failures.note("discard", core(group.discard_dead_letters(None).await));
    failures.note("trim", core(outbox::trim(&client).await));
    let terms = DurableOptions::new("g").slices(1).requires([jobs()]);
    let config = role.url.parse().unwrap();
    let (handle, consumer) = Consumer::new(config, terms, || Ignore).unwrap();
    spawn_local(consumer.run());
    let mut health = handle.health();
    let is_decided = |health: &Health| !matches!(health, Health::Connecting);
    let decided = tokio::time::timeout(DEADLINE, health.wait_for(is_decided)).await;
    let decided = match &*decided.unwrap().unwrap() {
        Health::Degraded { cause, .. } => Err(cause.chain()),
        _ => Ok(()),
    };
    failures.note("run a consumer", decided);
    handle.drain(Duration::from_secs(10)).await;
    failures
}

/// Runs the operations of a role that installs, on tables with this number. Another role writes to them.
async fn installs(scene: &Scene, role: &Scene, number: usize) -> Failures {
    let mut failures = Failures::default();
    let (recorded, announced) = (format!("recorded_{number}"), format!("announced_{number}"));
    scene
        .run(&format!(
            "CREATE TABLE {recorded} (id int PRIMARY KEY, value text); ALTER TABLE {recorded} OWNER TO owner;
            CREATE TABLE {announced} (id int PRIMARY KEY, value text); ALTER TABLE {announced} OWNER TO owner"
        ))
        .await;
    for (table, mode) in [(&recorded, "outbox"), (&announced, "notify")] {
        let install = [
            "install",
            table,
            "--mode",
            mode,
            "--columns",
            "value",
            "--commit",
        ];
        let ran = role.pgherald(&install).await;
        failures.note(&install.join(" "), command(&ran));
    }
    for part in 0..4 {
        let sql = format!(
            "SELECT setval('pgherald.outbox_clock', (last_value & ~3::bigint) | {part}) FROM pgherald.outbox_clock;
            INSERT INTO {recorded} VALUES ({part}, 'x'); INSERT INTO {announced} VALUES ({part}, 'x')"
        );
        let written = server(scene.client.batch_execute(&sql).await);
        failures.note(&format!("write while part {part} is current"), written);
    }
    for table in [&recorded, &announced] {
        // After a change of the columns, triggers run other code.
        let sql = format!(
            "ALTER TABLE {table} RENAME COLUMN value TO worth; UPDATE {table} SET worth = 'y'"
        );
        let written = server(scene.client.batch_execute(&sql).await);
        failures.note("write to an altered table", written);
    }
    let sql = format!("DROP TABLE {recorded}, {announced}");
    scene.run(&sql).await;
    failures
}

/// Asserts that each privilege is needed. `does` returns the operations that fail.
async fn each_is_needed(
    scene: &Scene,
    (name, purpose, least): (&str, &str, usize),
    mut does: impl AsyncFnMut() -> Failures,
) {
    let all = privileges(scene, name, purpose).await;
    assert!(all.len() >= least, "{all:?}");
    let failures = does().await;
    assert!(failures.0.is_empty(), "{:#?}", failures.0);
    let mut needless = Vec::new();
    for (privilege, object) in all {
        let revoke = format!("REVOKE {privilege} ON {object} FROM {name}");
        scene.run(&revoke).await;
        let failures = does().await;
        if failures.0.is_empty() {
            needless.push(format!("{privilege} on {object}"));
        }
        let grant = format!("GRANT {privilege} ON {object} TO {name}");
        scene.run(&grant).await;
    }
    assert!(needless.is_empty(), "to {purpose}: {needless:#?}");
}

/// Creates a database in which functions can be executed only with a grant.
async fn scene(postgres: &Postgres) -> Scene {
    let scene = Scene::on(postgres, TABLES).await;
    install(&scene, "jobs", "news").await;
    scene
        .run("REVOKE ALL ON ALL FUNCTIONS IN SCHEMA pgherald FROM PUBLIC; INSERT INTO jobs VALUES (1, 'x')")
        .await;
    scene
}

async fn make_group(scene: &Scene) {
    let terms = DurableOptions::new("g").slices(1).from_beginning();
    let terms = terms.requires([jobs()]);
    let config = scene.url.parse().unwrap();
    let (handle, consumer) = Consumer::new(config, terms, || Ignore).unwrap();
    spawn_local(consumer.run());
    let mut health = handle.health();
    health.wait_for(Health::is_live).await.unwrap();
    handle.drain(DEADLINE).await;
}

#[tokio::test]
async fn each_privilege_to_read_is_needed() {
    local(async {
        let postgres = Postgres::start().await.unwrap();
        let scene = scene(&postgres).await;
        make_group(&scene).await;
        let reader = role(&scene, "reader").await;
        let purpose = ("reader", "read", 15);
        each_is_needed(&scene, purpose, async || {
            Box::pin(reads(&scene, &reader)).await
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn each_privilege_to_consume_is_needed() {
    local(async {
        let postgres = Postgres::start().await.unwrap();
        let scene = scene(&postgres).await;
        let app = role(&scene, "app").await;
        scene
            .fine(&["grant", "app", "--to", "read", "--commit"])
            .await;
        make_group(&scene).await;
        let purpose = ("app", "consume", 17);
        each_is_needed(&scene, purpose, async || Box::pin(consumes(&app)).await).await;
    })
    .await;
}

#[tokio::test]
async fn each_privilege_to_install_is_needed() {
    let postgres = Postgres::start().await.unwrap();
    let scene = scene(&postgres).await;
    let owner = role(&scene, "owner").await;
    scene
        .fine(&["grant", "owner", "--to", "read", "--commit"])
        .await;
    let mut number = 0;
    let purpose = ("owner", "install", 10);
    each_is_needed(&scene, purpose, async || {
        number += 1;
        installs(&scene, &owner, number).await
    })
    .await;
}
