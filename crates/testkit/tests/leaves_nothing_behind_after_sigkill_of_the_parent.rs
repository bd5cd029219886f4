//! The servers of a killed test process end, and their files are removed.
//!
//! The killed process is this test binary, started again for the test `victim`.

#![allow(clippy::unwrap_used, reason = "tests stop at once")]

mod support;

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use pgherald_testkit::Postgres;

const VICTIM: &str = "PGHERALD_TESTKIT_VICTIM";

#[tokio::test]
async fn sigkill_of_the_parent_removes_a_running_server() {
    nothing_is_left_of("running").await;
}

#[tokio::test]
async fn sigkill_of_the_parent_removes_a_paused_server() {
    nothing_is_left_of("paused").await;
}

#[tokio::test]
async fn sigkill_of_the_parent_removes_a_killed_server() {
    nothing_is_left_of("killed").await;
}

/// The template of later servers has its own directory.
#[tokio::test]
async fn sigkill_of_the_parent_removes_several_servers_and_their_template() {
    nothing_is_left_of("several").await;
}

/// The process is killed during `initdb`.
#[tokio::test]
async fn sigkill_of_the_parent_removes_a_starting_server() {
    let (mut victim, temp, _) = start("starting");
    support::until("initdb has begun", || {
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

/// Starts the victim. Returns the process, its temporary directory, and the pids of its servers.
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
        // The line may begin with output of the test harness.
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
    wait_until_killed();
}

fn wait_until_killed() {
    // If the parent fails, its end closes this pipe.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
