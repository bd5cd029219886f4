//! A consumer that lost its slices while its process or its network stood still is fenced when it continues.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use pgherald_testkit::{FaultProxy, Postgres};

use rustix::process::{Pid, Signal, kill_process};
use tokio_postgres::Client;

use crate::held_up::{Gates, of_row, start};
use crate::support::{Log, Scene, connect, drained, local, options, report};
use crate::workers::{self, Kind, effects, processor_time};

const ROWS: i32 = 60;

/// The position of a slice, in the order of comparison: what is done, how much of the current difference is read, the epoch.
type Place = (i64, i64, i64, i64);

fn place(epoch: i64, cursor: &str) -> Place {
    let words: Vec<&str> = cursor.split(' ').collect();
    let position = words.get(8).map_or(i64::MIN, |word| word.parse().unwrap());
    (
        words[1].parse().unwrap(),
        words[2].parse().unwrap(),
        position,
        epoch,
    )
}

/// Reports cursors and epochs that move back.
async fn watch(url: String, has_ended: Rc<Cell<bool>>) -> Vec<String> {
    let client = connect(&url).await;
    let mut places = BTreeMap::<i32, Place>::new();
    let mut moved_back = Vec::new();
    while !has_ended.get() {
        let sql = "SELECT slice, epoch, cursor FROM pgherald.consumer_cursor";
        for row in client.query(sql, &[]).await.unwrap() {
            let (slice, now) = (row.get(0), place(row.get(1), row.get(2)));
            if let Some(before) = places.insert(slice, now)
                && (now < before || now.3 < before.3)
            {
                moved_back.push(format!("slice {slice}: {before:?} {now:?}"));
            }
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    moved_back
}

#[derive(Clone, Copy, PartialEq)]
enum Standstill {
    Process,
    Network,
}

async fn run(kind: Kind, standstill: Standstill) {
    let seed = std::env::var("PGHERALD_SEED")
        .map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("PGHERALD_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let server = Postgres::shared().await.unwrap();
    let scene = Scene::new().await;
    scene
        .run(&format!(
            "INSERT INTO jobs SELECT n, 1 FROM generate_series(1, {ROWS}) AS n"
        ))
        .await;
    let proxy = FaultProxy::start((server.host(), server.port()))
        .await
        .unwrap();
    let url = match standstill {
        Standstill::Process => scene.url.clone(),
        Standstill::Network => proxy.url(&scene.url),
    };
    let victim = workers::start(&url, kind, 1);
    let _other = workers::start(&scene.url, kind, 2);
    scene
        .becomes(
            "SELECT count(DISTINCT node) FROM pgherald.consumer_slice WHERE node IS NOT NULL",
            2,
        )
        .await;
    let has_ended = Rc::new(Cell::new(false));
    let watching = tokio::task::spawn_local(watch(scene.url.clone(), Rc::clone(&has_ended)));
    let (writer, writes) = (connect(&scene.url).await, Rc::new(Cell::new(0_i64)));
    let writing = tokio::task::spawn_local({
        let (has_ended, writes) = (Rc::clone(&has_ended), Rc::clone(&writes));
        async move {
            while !has_ended.get() {
                writer
                    .batch_execute("UPDATE jobs SET value = value + 1")
                    .await
                    .unwrap();
                writes.set(writes.get() + 1);
                tokio::time::sleep(Duration::from_millis(60)).await;
            }
        }
    });
    let nodes = "SELECT count(*) FROM pgherald.consumer_node";
    for _ in 0..4 {
        let done = writes.get() + random.i64(1..4);
        crate::support::until("some work", || writes.get() >= done, String::new).await;
        tokio::time::sleep(Duration::from_micros(random.u64(..60_000))).await;
        match standstill {
            Standstill::Process => victim.suspend(),
            Standstill::Network => proxy.stall(),
        }
        scene.becomes(nodes, 1).await;
        scene
            .becomes(
                "SELECT count(*) FROM pgherald.consumer_slice AS s WHERE node IS NULL
            OR NOT EXISTS (SELECT FROM pgherald.consumer_node AS n WHERE n.id = s.node)",
                0,
            )
            .await;
        match standstill {
            Standstill::Process => victim.resume(),
            Standstill::Network => proxy.resume(),
        }
        scene.becomes(nodes, 2).await;
        scene
            .becomes(
                "SELECT count(DISTINCT node) FROM pgherald.consumer_slice WHERE node IS NOT NULL",
                2,
            )
            .await;
    }
    has_ended.set(true);
    writing.await.unwrap();
    scene
        .becomes(
            "SELECT lag_events + parked + dead_letters FROM pgherald.consumer_group_status",
            0,
        )
        .await;
    assert_eq!(
        watching.await.unwrap(),
        Vec::<String>::new(),
        "PGHERALD_SEED={seed}"
    );
    let last = writes.get() + 1;
    let effects = effects(&scene.url).await;
    assert_eq!(effects.len(), ROWS as usize);
    for (id, values) in effects {
        if kind == Kind::Transactional {
            assert_eq!(
                values,
                (1..=last).collect::<Vec<_>>(),
                "row {id}, PGHERALD_SEED={seed}"
            );
        }
        let mut next = 1;
        for value in values {
            assert!(
                value <= next,
                "row {id}: {value} before {next}, PGHERALD_SEED={seed}"
            );
            next = next.max(value + 1);
        }
        assert_eq!(next - 1, last, "row {id}, PGHERALD_SEED={seed}");
    }
}

#[tokio::test]
async fn transactional_effects_are_made_once_and_in_order_after_a_process_was_stopped() {
    local(run(Kind::Transactional, Standstill::Process)).await;
}

#[tokio::test]
async fn a_stopped_process_does_not_overwrite_the_cursor_of_the_new_owner() {
    local(run(Kind::Plain, Standstill::Process)).await;
}

#[tokio::test]
async fn transactional_effects_are_made_once_and_in_order_after_the_network_stalled() {
    local(run(Kind::Transactional, Standstill::Network)).await;
}

#[tokio::test]
async fn a_consumer_with_a_stalled_network_does_not_overwrite_the_cursor_of_the_new_owner() {
    local(run(Kind::Plain, Standstill::Network)).await;
}

#[tokio::test]
async fn a_consumer_of_an_unresponsive_server_uses_no_processor_time() {
    let server = Postgres::shared().await.unwrap();
    let scene = Scene::new().await;
    let proxy = FaultProxy::start((server.host(), server.port()))
        .await
        .unwrap();
    let worker = workers::start(&proxy.url(&scene.url), Kind::Plain, 1);
    scene
        .becomes(
            "SELECT count(*) FROM pgherald.consumer_slice WHERE node IS NOT NULL",
            32,
        )
        .await;
    proxy.stall();
    let before = processor_time(&worker);
    // Longer than its lease.
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    let used = processor_time(&worker) - before;
    assert!(used < Duration::from_millis(250), "{used:?}");
}

#[tokio::test]
async fn a_late_acknowledgement_does_not_move_a_cursor_back() {
    local(async {
        let scene = Scene::new().await;
        let (log, victim) = (Log::default(), Rc::new(Cell::new(None::<Pid>)));
        let target = Rc::clone(&victim);
        let plan = move |line: &str, _| {
            // Suspend the backend, which then executes the acknowledgement late.
            if line == "1=1"
                && let Some(pid) = target.take()
            {
                kill_process(pid, Signal::STOP).unwrap();
            }
            Ok(())
        };
        let handle = scene.start(options("g"), &log, Box::new(plan));
        scene.run("INSERT INTO jobs VALUES (2, 1)").await;
        log.has(1).await;
        let lag = "SELECT lag_events + parked FROM pgherald.consumer_group_status";
        scene.becomes(lag, 0).await;
        let sql = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()
            AND backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY backend_start LIMIT 1";
        let pid: i32 = scene.client.query_one(sql, &[]).await.unwrap().get(0);
        let pid = Pid::from_raw(pid).unwrap();
        victim.set(Some(pid));
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        crate::support::until("stopped", || victim.get().is_none(), String::new).await;
        scene.becomes(lag, 0).await;
        scene.run("UPDATE jobs SET value = 2").await;
        scene.becomes(lag, 0).await;
        kill_process(pid, Signal::CONT).unwrap();
        let gone = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE pid = {}",
            pid.as_raw_nonzero()
        );
        scene.becomes(&gone, 0).await;
        assert_eq!(scene.number(lag).await, 0);
        drained(&handle).await;
    })
    .await;
}

/// Takes a slice away from its owner, as another consumer or a seek does.
fn taken(slice: i32) -> String {
    format!(
        "UPDATE pgherald.consumer_slice SET epoch = epoch + 1, node = NULL WHERE slice = {slice};
        UPDATE pgherald.consumer_cursor SET epoch = epoch + 1, generation = 0 WHERE slice = {slice};"
    )
}

#[tokio::test]
async fn settlements_of_a_lost_slice_have_no_effect_and_others_of_their_batch_are_written() {
    local(async {
        const SLICES: i32 = 101;
        let scene = Scene::new().await;
        let slices = "SELECT (hashtext(n::text) & 2147483647) % $1 FROM generate_series(1, 3) AS n";
        let slices = scene.client.query(slices, &[&SLICES]).await.unwrap();
        let slices: Vec<i32> = slices.iter().map(|row| row.get(0)).collect();
        let (first, lost) = (slices[0], slices[1]);
        assert!(first != lost && !slices[..2].contains(&slices[2]));
        let (log, closed) = (Log::default(), Gates::default());
        closed.borrow_mut().extend(["1=1#2", "2=1#2", "3=1#2"]);
        let options = options("g").slices(101).lease(Duration::from_secs(60));
        let handle = start(&scene, options, &log, &closed);
        scene
            .run("INSERT INTO jobs VALUES (1, 1), (2, 1), (3, 1)")
            .await;
        log.has(6).await;
        let lag = "SELECT lag_events FROM pgherald.consumer_group_status";
        scene.becomes(lag, 0).await;

        // The settlement of the first row waits for a lock, so the two others are written together after it.
        let (blocker, thief) = (scene.connect().await, scene.connect().await);
        let lock =
            format!("BEGIN; SELECT FROM pgherald.consumer_cursor WHERE slice = {first} FOR UPDATE");
        blocker.batch_execute(&lock).await.unwrap();
        let steal = format!("BEGIN; {}", taken(lost));
        thief.batch_execute(&steal).await.unwrap();
        closed.borrow_mut().remove("1=1#2");
        scene.becomes(&waiting_for(&blocker).await, 1).await;
        closed.borrow_mut().clear();
        report(&handle, "all handled", |report| report.handled == 3).await;
        blocker.batch_execute("ROLLBACK").await.unwrap();
        scene.becomes(&waiting_for(&thief).await, 1).await;
        assert_eq!(
            scene
                .number("SELECT count(*) FROM pgherald.parked_event")
                .await,
            2
        );
        thief.batch_execute("COMMIT").await.unwrap();

        // The consumer claims the lost slice again, and handles its event again.
        scene
            .run("SELECT pg_notify('pgherald_outbox', 'control g')")
            .await;
        scene
            .becomes("SELECT count(*) FROM pgherald.parked_event", 0)
            .await;
        let lines = log.lines();
        assert_eq!(of_row(&lines, "1="), ["1=1#1", "1=1#2"]);
        assert_eq!(of_row(&lines, "2="), ["2=1#1", "2=1#2", "2=1#2"]);
        assert_eq!(of_row(&lines, "3="), ["3=1#1", "3=1#2"]);
        drained(&handle).await;
    })
    .await;
}

/// A query for the number of sessions that wait for a lock of `holder`.
async fn waiting_for(holder: &Client) -> String {
    let row = holder.query_one("SELECT pg_backend_pid()", &[]).await;
    let pid: i32 = row.unwrap().get(0);
    format!("SELECT count(*) FROM pg_stat_activity WHERE {pid} = ANY (pg_blocking_pids(pid))")
}
