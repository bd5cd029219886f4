//! Workers are killed, backends terminated and the server restarted, all at random, while others write.
//!
//! By hand: `PGHERALD_EVENTS=20000 PGHERALD_KILLS=20 cargo test --release --test durable crashes -- --nocapture
//! --test-threads=1`; `PGHERALD_SEED` repeats a run as far as its decisions go.

use std::time::{Duration, Instant};

use fastrand::Rng;
use pgherald_testkit::Postgres;
use tokio_postgres::Client;

use crate::support::Scene;
use crate::workers::{Kind, Worker, effects};

const ROWS: i32 = 500;
const WRITERS: usize = 4;
const AT_ONCE: usize = 3;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

#[tokio::test]
async fn transactional_effects_are_made_once_and_in_order() {
    let run = run(Kind::Transactional).await;
    for (id, values) in &run.effects {
        let expected: Vec<i64> = (1..=run.last[id]).collect();
        assert_eq!(*values, expected, "row {id}, PGHERALD_SEED={}", run.seed);
    }
    assert_eq!(run.effects.len(), run.last.len());
}

#[tokio::test]
async fn plain_effects_are_not_lost_and_in_order() {
    let run = run(Kind::Plain).await;
    let mut repeated = 0;
    for (id, values) in &run.effects {
        let mut next = 1;
        for value in values {
            assert!(
                *value <= next,
                "row {id}: {value} before {next}, PGHERALD_SEED={}",
                run.seed
            );
            match *value == next {
                true => next += 1,
                false => repeated += 1,
            }
        }
        assert_eq!(
            next - 1,
            run.last[id],
            "row {id}, PGHERALD_SEED={}",
            run.seed
        );
    }
    assert_eq!(run.effects.len(), run.last.len());
    println!("{repeated} effects were repeated");
}

struct Run {
    seed: u64,
    effects: std::collections::BTreeMap<i32, Vec<i64>>,
    /// What each row was in the end: how often it was written.
    last: std::collections::BTreeMap<i32, i64>,
}

async fn run(kind: Kind) -> Run {
    let seed = number("PGHERALD_SEED", fastrand::u64(..));
    println!("PGHERALD_SEED={seed}");
    let (events, kills) = (
        number("PGHERALD_EVENTS", 3_000),
        number("PGHERALD_KILLS", 6),
    );
    let mut random = Rng::with_seed(seed);
    let server = Postgres::start().await.unwrap();
    let scene = Scene::at(server.create_database().await.unwrap()).await;
    scene
        .run(&format!(
            "INSERT INTO jobs SELECT n, 1 FROM generate_series(1, {ROWS}) AS n"
        ))
        .await;

    let url = scene.url.clone();
    let mut workers: Vec<Worker> = (0..AT_ONCE)
        .map(|n| Worker::start(&url, kind, n as i32))
        .collect();
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| tokio::spawn(write(url.clone(), random.fork(), events / WRITERS as u64)))
        .collect();
    // Open all the time, and with a small id.
    let elsewhere = crate::support::connect(&url).await;
    let open = "BEGIN; INSERT INTO others VALUES (1); UPDATE jobs SET value = value WHERE false";
    elsewhere.batch_execute(open).await.unwrap();

    let began = Instant::now();
    for (next, kill) in (AT_ONCE as i32..).zip(0..kills) {
        let pause = Duration::from_millis(random.u64(50..1_500));
        tokio::time::sleep(pause).await;
        let index = random.usize(..workers.len());
        let number = workers[index].number;
        match kill % 5 {
            3 => {
                let terminated = server.terminate_backends(None).await.unwrap();
                println!("{:?}: {terminated} backends terminated", began.elapsed());
            }
            4 if random.bool() => {
                server.kill().await.unwrap();
                server.start_again().await.unwrap();
                println!("{:?}: server killed and started", began.elapsed());
            }
            4 => {
                server.restart().await.unwrap();
                println!("{:?}: server restarted", began.elapsed());
            }
            _ => {}
        }
        workers[index] = Worker::start(&url, kind, next);
        println!("{:?}: worker {number} killed", began.elapsed());
    }
    for writer in writers {
        writer.await.unwrap();
    }
    // Every event and no other: what was written is what is there.
    let client = crate::support::connect(&url).await;
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let sql = "SELECT coalesce(sum(value), 0)::bigint - (SELECT count(*) FROM (SELECT DISTINCT id, value FROM effects) AS e)
            FROM jobs";
        let missing: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
        if missing == 0 && is_settled(&client).await {
            break;
        }
        if Instant::now() > deadline {
            panic!(
                "{missing} effects are missing, PGHERALD_SEED={seed}\n{}",
                standing(&client).await
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(workers);
    let rows = client
        .query("SELECT id, value FROM jobs", &[])
        .await
        .unwrap();
    let last = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let effects = effects(&url).await;
    let count: usize = effects.values().map(Vec::len).sum();
    println!("{:?}: {count} effects, {kills} kills", began.elapsed());
    Run {
        seed,
        effects,
        last,
    }
}

/// How the group stands, for whoever has to find out why.
async fn standing(client: &Client) -> String {
    let mut shown = String::new();
    for sql in [
        "SELECT g::text FROM pgherald.consumer_group_status AS g",
        "SELECT n::text FROM pgherald.consumer_node AS n",
        "SELECT concat_ws(' ', s.*, c.*) FROM pgherald.consumer_slice AS s JOIN pgherald.consumer_cursor AS c USING (slice)",
        "SELECT 'missing: ' || o::text FROM pgherald.outbox AS o LEFT JOIN effects AS e
            ON e.id::text = o.key AND e.value = (o.columns::json ->> 'value')::bigint WHERE e.id IS NULL ORDER BY o.id LIMIT 100",
        "SELECT 'events of no row: ' || count(*) FROM effects WHERE id = -1",
        "SELECT concat_ws(' ', id, slice, key, columns, attempts, error, due_at) FROM pgherald.parked_event ORDER BY id LIMIT 100",
    ] {
        for row in client.query(sql, &[]).await.unwrap() {
            shown += row.get(0);
            shown += "\n";
        }
    }
    shown
}

/// Nothing is to be done any more.
async fn is_settled(client: &Client) -> bool {
    let sql = "SELECT lag_events + parked + dead_letters FROM pgherald.consumer_group_status";
    client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0
}

/// Counts rows up, some at a time, now and then in transactions that are rolled back or take a while.
async fn write(url: String, mut random: Rng, events: u64) {
    let mut client: Option<Client> = None;
    let mut written = 0;
    while written < events {
        let connected = match client.take() {
            Some(client) if !client.is_closed() => client,
            _ => match tokio_postgres::connect(&url, tokio_postgres::NoTls).await {
                Ok((new, connection)) => {
                    tokio::spawn(connection);
                    new
                }
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            },
        };
        let mut ids: Vec<String> = (0..random.usize(1..6))
            .map(|_| random.i32(1..=ROWS).to_string())
            .collect();
        ids.sort();
        ids.dedup();
        let update = format!(
            "UPDATE jobs SET value = value + 1 WHERE id IN (SELECT id FROM jobs WHERE id IN ({}) ORDER BY id FOR UPDATE)",
            ids.join(",")
        );
        let end = if random.u32(..10) == 0 {
            "ROLLBACK"
        } else {
            "COMMIT"
        };
        if connected
            .batch_execute(&format!("BEGIN; {update}"))
            .await
            .is_ok()
        {
            if random.u32(..20) == 0 {
                tokio::time::sleep(Duration::from_millis(random.u64(..100))).await;
            }
            if connected.batch_execute(end).await.is_ok() && end == "COMMIT" {
                written += ids.len() as u64;
            }
        }
        client = Some(connected);
    }
}
