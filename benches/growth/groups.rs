//! Groups: slices, groups in a process, and nodes.

use std::time::Duration;

use pgherald::group::{Connections, Consumer, ConsumerHandle};
use pgherald::{ConnectConfig, DurableOptions, Result};

use crate::cost::{Cost, time_of_process};
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
            let options = DurableOptions::new("g").slices(u16::try_from(*size).unwrap());
            let cost = backlog(1, 50_000, options, |config, options| {
                Consumer::new(config, options, || Nothing)
            });
            costs.push(cost.await.client.as_secs_f64() * 1e6 / 50_000.0);
        }
        print(single, "µs", sizes, &costs);
    }
    let nodes = "groups, nodes, batches, server per event";
    if asked.wants(nodes) {
        let sizes = &[1, 2, 4, 8];
        let mut costs = Vec::new();
        for size in sizes {
            let cost = backlog(
                *size,
                500_000,
                DurableOptions::new("g"),
                |config, options| Consumer::batches(config, options, || Nothing),
            );
            costs.push(cost.await.server.as_secs_f64() * 1e6 / 500_000.0);
        }
        print(nodes, "µs", sizes, &costs);
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

/// The cost of a backlog that `nodes` consumers of a group share, without the time to start and to write it.
async fn backlog(
    nodes: usize,
    events: u64,
    options: DurableOptions,
    consumer: fn(ConnectConfig, DurableOptions) -> Result<(ConsumerHandle, Consumer)>,
) -> Cost {
    let stage = Stage::new().await;
    stage.recorded("t").await;
    let config: ConnectConfig = stage.url.parse().unwrap();
    let start = |_| {
        let (config, options) = (config.clone(), options.clone());
        Node::start(move || consumer(config, options))
    };
    let nodes: Vec<_> = (0..nodes).map(start).collect();
    let writer = stage.pid().await;
    // The slices are shared out evenly.
    let slices = |node: &Node| node.handle.report().slices;
    while nodes
        .iter()
        .any(|node| slices(node) == 0 || slices(node) > slices(&nodes[0]) + 1)
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let before = Cost::so_far(&stage.server, &stage.client).await;
    let written = time_of_process(writer);
    stage
        .run(&format!(
            "INSERT INTO t0 SELECT generate_series(1, {events})"
        ))
        .await;
    let handled = || {
        nodes
            .iter()
            .map(|node| node.handle.report().handled)
            .sum::<u64>()
    };
    while handled() < events {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut cost = Cost::so_far(&stage.server, &stage.client)
        .await
        .since(before);
    cost.server -= time_of_process(writer) - written;
    for node in nodes {
        node.drain().await;
    }
    cost
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
