//! Groups: slices, groups in a process, and nodes.

use std::time::Duration;

use pgherald::group::{Batch, BatchHandler, Consumer};
use pgherald::{ConnectConfig, Durable, Event, HandlerResult, Resync};
use tokio::task::LocalSet;

use crate::cost::Cost;
use crate::stage::Stage;
use crate::{Asked, print};

struct Nothing;

impl BatchHandler for Nothing {
    type Event = Event;
    async fn handle(&self, _: &mut Batch<Event>) -> HandlerResult {
        Ok(())
    }
    async fn resync(&self, _: Resync) -> HandlerResult {
        Ok(())
    }
}

pub(crate) async fn measure(asked: &Asked) {
    let slices = "groups, slices, log at 10 writes/s";
    let groups = ["groups, groups, transactions", "groups, groups, server"];
    if asked.wants(slices) {
        let sizes = asked.sizes(&[8, 256], &[8, 32, 256, 1_024]);
        let mut costs = Vec::new();
        for size in sizes {
            let stage = Stage::new().await;
            let size = u16::try_from(*size).unwrap();
            let options = vec![Durable::new("g").slices(size)];
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
            let options = (0..*size).map(|number| Durable::new(format!("g{number}")));
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
async fn trickle(stage: &Stage, groups: Vec<Durable>) -> Cost {
    stage.recorded("t").await;
    let mut threads = Vec::new();
    for options in groups {
        let config: ConnectConfig = stage.url.parse().unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let (handle, consumer) = Consumer::batches(config, options, || Nothing).unwrap();
            sender.send(handle).unwrap();
            runtime.block_on(LocalSet::new().run_until(consumer.run()));
        });
        let handle = receiver.recv().unwrap();
        let mut health = handle.health();
        health.wait_for(pgherald::Health::is_live).await.unwrap();
        threads.push((handle, thread));
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
    for (handle, thread) in threads {
        handle.drain(Duration::from_secs(10)).await;
        thread.join().unwrap();
    }
    cost
}
