//! Groups: slices, groups in a process, and nodes.

use std::time::Duration;

use pgherald::group::{Connections, Consumer};
use pgherald::{ConnectConfig, DurableOptions};

use crate::cost::Cost;
use crate::stage::Stage;
use crate::support::node::{Node, Nothing};
use crate::{Asked, print};

pub(crate) async fn measure(asked: &Asked) {
    let slices = "groups, slices, log at 10 writes/s";
    let groups = ["groups, groups, transactions", "groups, groups, server"];
    if asked.wants(slices) {
        let sizes = asked.sizes(&[8, 256], &[8, 32, 256, 1_024]);
        let mut costs = Vec::new();
        for size in sizes {
            let stage = Stage::new().await;
            let size = u16::try_from(*size).unwrap();
            let options = vec![DurableOptions::new("g").slices(size)];
            costs.push(
                trickle(&stage, options).await.wal_bytes as f64 / 1_024.0 / SPAN.as_secs_f64(),
            );
        }
        print(slices, "KiB/s", sizes, &costs);
    }
    let single = "groups, slices, client per event";
    if asked.wants(single) {
        let sizes = asked.sizes(&[8, 256, 1_024], &[8, 32, 256, 1_024]);
        let mut costs = Vec::new();
        for size in sizes {
            let slices = u16::try_from(*size).unwrap();
            costs.push(backlog(slices).await.as_secs_f64() * 1e6 / f64::from(BACKLOG));
        }
        print(single, "µs", sizes, &costs);
    }
    if groups.iter().any(|name| asked.wants(name)) {
        let sizes = &[1, 10, 50];
        let (mut transactions, mut server) = (Vec::new(), Vec::new());
        for size in sizes {
            let stage = Stage::new().await;
            let options = (0..*size).map(|number| DurableOptions::new(format!("g{number}")));
            let cost = trickle(&stage, options.collect()).await;
            transactions.push(cost.transactions as f64 / SPAN.as_secs_f64());
            server.push(cost.server.as_secs_f64() * 1e3 / SPAN.as_secs_f64());
        }
        print(groups[0], "per s", sizes, &transactions);
        print(groups[1], "ms of server per s", sizes, &server);
    }
}

const BACKLOG: u32 = 50_000;

/// The client's time for a backlog of single events, without the time to start.
async fn backlog(slices: u16) -> Duration {
    let stage = Stage::new().await;
    stage.recorded("t").await;
    let options = || DurableOptions::new("g").slices(slices);
    let config: ConnectConfig = stage.url.parse().unwrap();
    let start = || {
        let (config, options) = (config.clone(), options());
        Node::start(move || Consumer::new(config, options, || Nothing))
    };
    let node = start();
    let mut health = node.handle.health();
    health.wait_for(pgherald::Health::is_live).await.unwrap();
    let before = Cost::so_far(&stage.server, &stage.client).await;
    let sql = format!("INSERT INTO t0 SELECT generate_series(1, {BACKLOG})");
    stage.run(&sql).await;
    while node.handle.report().handled < u64::from(BACKLOG) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let cost = Cost::so_far(&stage.server, &stage.client)
        .await
        .since(before);
    node.drain().await;
    cost.client
}

const SPAN: Duration = Duration::from_secs(8);

/// The cost of 10 writes per second that these groups consume.
async fn trickle(stage: &Stage, groups: Vec<DurableOptions>) -> Cost {
    stage.recorded("t").await;
    let mut nodes = Vec::new();
    let config: ConnectConfig = stage.url.parse().unwrap();
    let connections = Connections::new(config.clone());
    for options in groups {
        let config = config.clone();
        let options = options.connections(connections.clone());
        let node = Node::start(move || Consumer::batches(config, options, || Nothing));
        let mut health = node.handle.health();
        health.wait_for(pgherald::Health::is_live).await.unwrap();
        nodes.push(node);
    }
    let write = async |for_how_long: Duration| {
        let until = tokio::time::Instant::now() + for_how_long;
        while tokio::time::Instant::now() < until {
            stage
                .run("INSERT INTO t0 SELECT coalesce(max(id), 0) + 1 FROM t0")
                .await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    write(Duration::from_secs(2)).await;
    stage.run("CHECKPOINT").await;
    let before = Cost::so_far(&stage.server, &stage.client).await;
    write(SPAN).await;
    let cost = Cost::so_far(&stage.server, &stage.client)
        .await
        .since(before);
    for node in nodes {
        node.drain().await;
    }
    cost
}
