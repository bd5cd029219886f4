//! Groups: slices, groups in a process, and nodes.

use std::time::Duration;

use pgherald::group::Consumer;
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

const SPAN: Duration = Duration::from_secs(8);

/// The cost of 10 writes per second that these groups consume.
async fn trickle(stage: &Stage, groups: Vec<DurableOptions>) -> Cost {
    stage.recorded("t").await;
    let mut nodes = Vec::new();
    for options in groups {
        let config: ConnectConfig = stage.url.parse().unwrap();
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
