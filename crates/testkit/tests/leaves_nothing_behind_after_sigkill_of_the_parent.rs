//! A test process that is killed takes its servers along.
//!
//! The process to be killed is this test binary, started once more for the test `victim`.

#![allow(clippy::unwrap_used, reason = "tests stop at once")]

mod support;

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use pgherald_testkit::Postgres;

const VICTIM: &str = "PGHERALD_TESTKIT_VICTIM";

#[tokio::test]
async fn a_running_server() {
    nothing_is_left_of("running").await;
}

#[tokio::test]
async fn a_paused_server() {
    nothing_is_left_of("paused").await;
}

#[tokio::test]
async fn a_killed_server() {
    nothing_is_left_of("killed").await;
}

/// The original that later servers are copied from has a directory of its own.
#[tokio::test]
async fn several_servers() {
    nothing_is_left_of("several").await;
}

/// The killed process was in the middle of making the server.
#[tokio::test]
async fn a_server_that_is_just_being_started() {
    let (mut victim, temp, _) = start("starting");
    support::until("initdb at work", || {
        entries(&temp).any(|dir| dir.join("data/base").exists())
    })
    .await;
    victim.kill().unwrap();
    victim.wait().unwrap();
    support::until("files gone", || entries(&temp).next().is_none()).await;
    std::fs::remove_dir(temp).unwrap();
}

async fn nothing_is_left_of(state: &str) {
    let (mut victim, temp, pids) = start(state);
    assert!(!pids.is_empty() && entries(&temp).next().is_some());

    victim.kill().unwrap();
    victim.wait().unwrap();

    for pid in pids {
        support::until("process gone", || !support::is_alive(pid)).await;
    }
    support::until("files gone", || entries(&temp).next().is_none()).await;
    std::fs::remove_dir(temp).unwrap();
}

/// The process, the temporary directory of its own, and the pids of its servers.
fn start(state: &str) -> (Child, PathBuf, Vec<u32>) {
    let temp = std::env::temp_dir().join(format!("victim-{state}-{}", std::process::id()));
    std::fs::create_dir(&temp).unwrap();
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim", "--nocapture"])
        .env(VICTIM, state)
        .env("TMPDIR", &temp)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pids = Vec::new();
    for line in BufReader::new(victim.stdout.take().unwrap()).lines() {
        // The test harness may have written to the same line.
        let line = line.unwrap();
        if let Some((_, pid)) = line.split_once("pid=") {
            pids.push(pid.parse().unwrap());
        } else if line.ends_with("done") {
            break;
        }
    }
    (victim, temp, pids)
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
}

#[tokio::test]
async fn victim() {
    let Ok(state) = std::env::var(VICTIM) else {
        return;
    };
    let mut servers = Vec::new();
    if state == "starting" {
        println!("done");
    }
    for _ in 0..if state == "several" { 3 } else { 1 } {
        let server = Postgres::start().await.unwrap();
        println!("pid={}", support::postmaster_pid(&server));
        servers.push(server);
    }
    match &*state {
        "paused" => servers[0].pause().await.unwrap(),
        "killed" => servers[0].kill().await.unwrap(),
        _ => {}
    }
    println!("done");
    wait_for_the_end();
}

fn wait_for_the_end() {
    // Should the killer fail, its end closes this pipe.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
