//! Measures how long the command takes to start, and how many events per second `watch --json` writes into a file.
//!
//! `PGHERALD_TURNS` is the number of measurements of each (default 5). The output shows the medians.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark may stop at once"
)]

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pgherald_core::TableName;
use pgherald_core::trigger::{self, TriggerSpec};
use pgherald_testkit::Postgres;
use tokio_postgres::NoTls;

const PROGRAM: &str = env!("CARGO_BIN_EXE_pgherald");
const EVENTS: u32 = 1_000_000;
/// The number of rows of a statement: as many as one notification lists.
const ROWS: u32 = 1000;

fn turns() -> usize {
    let turns = std::env::var("PGHERALD_TURNS");
    turns.ok().and_then(|turns| turns.parse().ok()).unwrap_or(5)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn help() -> Duration {
    let begun = Instant::now();
    let output = Command::new(PROGRAM).arg("--help").output();
    assert!(output.expect("an end").status.success(), "--help");
    begun.elapsed()
}

/// Measures the time from the commit until the program ends, which it does after the last event.
async fn watch(url: &str, client: &tokio_postgres::Client) -> Duration {
    let path = std::env::temp_dir().join(format!("pgherald-watch-{}", std::process::id()));
    let file = File::create(&path).expect("a file");
    let mut child = Command::new(PROGRAM)
        .args(["--database-url", url, "watch", "--json", "--count"])
        .arg(EVENTS.to_string())
        .stdout(Stdio::from(file))
        .spawn()
        .expect("a process");
    // Wait until the source is live.
    loop {
        let text = std::fs::read_to_string(&path).expect("a file");
        if text.contains("\"live\"") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // In one transaction, so that the time to write the rows is not measured.
    let rows = EVENTS / ROWS;
    let sql = format!(
        "DO $$ BEGIN FOR i IN 1..{rows} LOOP INSERT INTO big SELECT g FROM generate_series(1, {ROWS}) AS g;
            END LOOP; END $$"
    );
    client.batch_execute(&sql).await.expect("rows");
    let begun = Instant::now();
    let status = tokio::task::spawn_blocking(move || child.wait()).await;
    assert!(status.expect("an end").expect("an end").success(), "watch");
    let taken = begun.elapsed();
    let lines = std::fs::read(&path).expect("a file");
    let lines = lines.iter().filter(|byte| **byte == b'\n').count();
    assert!(lines >= EVENTS as usize, "{lines} lines");
    std::fs::remove_file(&path).expect("a file");
    taken
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let help = median((0..turns() * 4).map(|_| help()).collect());
    println!("--help: {help:.1?}");
    let server = Postgres::start().await.expect("a server");
    let url = server.create_database().await.expect("a database");
    let (client, connection) = tokio_postgres::connect(&url, NoTls)
        .await
        .expect("a connection");
    tokio::spawn(connection);
    client
        .batch_execute("CREATE TABLE big (id bigint)")
        .await
        .expect("a table");
    let spec =
        TriggerSpec::new(TableName::new("public", "big").expect("a name")).key_columns(["id"]);
    for (mode, spec) in [("notify", spec.clone()), ("outbox", spec.outbox())] {
        let plan = trigger::plan(&client, &[spec]).await.expect("a plan");
        plan.apply(&client).await.expect("triggers");
        let mut times = Vec::new();
        for _ in 0..turns() {
            client.batch_execute("TRUNCATE big").await.expect("no rows");
            times.push(watch(&url, &client).await);
        }
        let rate = f64::from(EVENTS) / median(times).as_secs_f64();
        println!("watch --json, {mode}: {rate:.0} events/s");
    }
}
