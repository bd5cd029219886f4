//! Parked events and dead letters: events that come due, a dead letter that is retried, a page of dead letters; and the status of
//! a group that lags behind.

use std::time::Duration;

use pgherald::group::{Consumer, Group};
use pgherald::{ConnectConfig, DurableOptions, Health};

use crate::cost::{Cost, time_of_process};
use crate::stage::Stage;
use crate::support::median;
use crate::support::node::{Node, Nothing};
use crate::{Asked, print};

pub(crate) async fn measure(asked: &Asked) {
    let due = [
        ("parked, events that come due", "n"),
        ("parked, events of one row that come due", "0"),
    ];
    for (name, row) in due {
        if asked.wants(name) {
            let sizes = match row {
                "0" => &[100, 1_000],
                _ => asked.sizes(&[1_000, 10_000], &[1_000, 10_000, 50_000]),
            };
            let mut costs = Vec::new();
            for size in sizes {
                costs.push(come_due(*size, row).await);
            }
            print(name, "µs of server and client per event", sizes, &costs);
        }
    }
    let retry = [
        "parked, retry of one dead letter, server",
        "parked, retry of one dead letter, client",
        "parked, page of dead letters",
    ];
    if retry.iter().any(|name| asked.wants(name)) {
        let sizes = asked.sizes(&[100, 90_000], &[100, 10_000, 90_000]);
        let mut costs = [Vec::new(), Vec::new(), Vec::new()];
        for size in sizes {
            for (cost, costs) in retried(*size).await.into_iter().zip(&mut costs) {
                costs.push(cost);
            }
        }
        for (name, costs) in retry.into_iter().zip(costs) {
            print(name, "ms", sizes, &costs);
        }
    }
    let name = "status, lag";
    if asked.wants(name) {
        let sizes = asked.sizes(&[1_000, 300_000], &[1_000, 100_000, 1_000_000, 3_000_000]);
        let mut costs = Vec::new();
        for size in sizes {
            costs.push(status(*size).await);
        }
        print(name, "ms of server", sizes, &costs);
    }
}

const GROUP: &str = "g";

/// Starts a consumer of a group that begins after the events that `sql` records.
async fn beginning(stage: &Stage, sql: &str) -> Node {
    stage.recorded("t").await;
    stage.run(sql).await;
    let node = start(stage);
    live(&node).await;
    node
}

fn start(stage: &Stage) -> Node {
    let config: ConnectConfig = stage.url.parse().unwrap();
    Node::start(move || Consumer::new(config, DurableOptions::new(GROUP), || Nothing))
}

async fn live(node: &Node) {
    let mut health = node.handle.health();
    health.wait_for(Health::is_live).await.unwrap();
}

/// Parks all recorded events of the group.
async fn park(stage: &Stage, due_at: &str, dead_at: &str) {
    let sql = format!(
        "INSERT INTO pgherald.parked_event (group_name, id, slice, xid, sent_at, relation, hash, operation, key, columns, attempts,
            due_at, delay, dead_at)
        SELECT '{GROUP}', o.id, (o.hash & 2147483647) % g.slices, o.xid, o.sent_at, o.relation, o.hash, o.operation, o.key,
            o.columns, 1, {due_at}, extract(epoch FROM {due_at} - clock_timestamp()), {dead_at}
        FROM pgherald.outbox AS o CROSS JOIN pgherald.consumer_group AS g
        WHERE NOT EXISTS (SELECT FROM pgherald.parked_event AS p WHERE p.id = o.id)"
    );
    stage.run(&sql).await;
}

async fn wait_until_none(stage: &Stage, what: &str) {
    let sql = format!("SELECT NOT EXISTS (SELECT FROM pgherald.parked_event WHERE {what})");
    while !stage
        .client
        .query_one(&sql, &[])
        .await
        .unwrap()
        .get::<_, bool>(0)
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The cost of `count` parked events that are due, of rows numbered by `row`. A consumer's start is not part of it.
async fn come_due(count: usize, row: &str) -> f64 {
    let stage = Stage::new().await;
    let sql = match row {
        "0" => format!(
            "INSERT INTO t0 VALUES (0, 0);
            DO $$ BEGIN FOR n IN 2..{count} LOOP UPDATE t0 SET value = n; END LOOP; END $$"
        ),
        _ => format!("INSERT INTO t0 SELECT {row}, 0 FROM generate_series(1, {count}) AS n"),
    };
    let node = beginning(&stage, &sql).await;
    node.drain().await;
    let group = Group::new(&stage.client, GROUP);
    group.pause().await.unwrap();
    park(&stage, "clock_timestamp()", "NULL").await;
    stage.run("VACUUM ANALYZE").await;
    let node = start(&stage);
    live(&node).await;
    let before = Cost::so_far(&stage.server, &stage.client).await;
    group.resume().await.unwrap();
    wait_until_none(&stage, "dead_at IS NULL").await;
    let cost = Cost::so_far(&stage.server, &stage.client)
        .await
        .since(before);
    node.drain().await;
    (cost.server + cost.client).as_secs_f64() * 1e6 / count as f64
}

/// The milliseconds of the server and of the client for the retry of one dead letter beside `count` parked events, and those of the
/// server for a page of dead letters.
async fn retried(count: usize) -> [f64; 3] {
    let stage = Stage::new().await;
    let sql = format!("INSERT INTO t0 SELECT n, 0 FROM generate_series(1, {count}) AS n");
    let node = beginning(&stage, &sql).await;
    node.drain().await;
    park(&stage, "clock_timestamp() + interval '1 h'", "NULL").await;
    stage
        .run("INSERT INTO t0 SELECT -n, 0 FROM generate_series(1, 100) AS n")
        .await;
    park(&stage, "NULL::timestamptz", "clock_timestamp()").await;
    stage.run("VACUUM ANALYZE").await;
    let group = Group::new(&stage.client, GROUP);
    let pid = stage.pid().await;
    let mut pages = Vec::new();
    let mut letters = Vec::new();
    for _ in 0..20 {
        let before = time_of_process(pid);
        letters = group.dead_letters(None, 100).await.unwrap();
        let cost = time_of_process(pid).saturating_sub(before);
        pages.push(cost.as_secs_f64() * 1e3);
    }
    assert_eq!(letters.len(), 100);
    let node = start(&stage);
    live(&node).await;
    wait_until_read(&stage).await;
    let (mut server, mut client) = (Vec::new(), Vec::new());
    for letter in letters.iter().take(20) {
        // Longer than the shortest pause between ticks.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let before = Cost::so_far(&stage.server, &stage.client).await;
        let retried = group.retry_dead_letters(Some(&[letter.id])).await.unwrap();
        assert_eq!(retried, 1);
        wait_until_none(&stage, &format!("id = {}", letter.id)).await;
        let cost = Cost::so_far(&stage.server, &stage.client)
            .await
            .since(before);
        server.push(cost.server.as_secs_f64() * 1e3);
        client.push(cost.client.as_secs_f64() * 1e3);
    }
    node.drain().await;
    [median(server), median(client), median(pages)]
}

/// Waits until the group lags behind no event.
async fn wait_until_read(stage: &Stage) {
    let group = Group::new(&stage.client, GROUP);
    while group.status().await.unwrap().lag_events > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The milliseconds of the server for the status of a group that lags `count` events behind.
async fn status(count: usize) -> f64 {
    let stage = Stage::new().await;
    let node = beginning(&stage, "SELECT").await;
    node.drain().await;
    for first in (0..count).step_by(10_000) {
        let last = (first + 10_000).min(count);
        stage
            .run(&format!(
                "INSERT INTO t0 SELECT n, 0 FROM generate_series({first} + 1, {last}) AS n"
            ))
            .await;
    }
    stage.run("VACUUM ANALYZE").await;
    let group = Group::new(&stage.client, GROUP);
    let pid = stage.pid().await;
    let mut costs = Vec::new();
    for _ in 0..5 {
        let before = time_of_process(pid);
        let status = group.status().await.unwrap();
        let cost = time_of_process(pid).saturating_sub(before);
        assert!(status.lag_events > 0);
        costs.push(cost.as_secs_f64() * 1e3);
    }
    median(costs)
}
