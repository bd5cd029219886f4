//! Watched and installed tables: the heartbeat of an idle source, and installing, verifying and listing.

use std::time::Duration;

use futures_util::StreamExt;
use pgherald::trigger::{self, TriggerSpec};
use pgherald::{ConnectConfig, NotifySource, OutboxSource, Signal, Signals, supervise};

use crate::cost::Cost;
use crate::stage::Stage;
use crate::{Asked, print};

pub(crate) async fn measure(asked: &Asked) {
    let (outbox, notify) = (
        "idle, watched tables, outbox",
        "idle, watched tables, notify",
    );
    let operations = [
        "reinstalling, tables",
        "verifying, tables",
        "listing, tables",
    ];
    if asked.wants(outbox) || asked.wants(notify) {
        let stage = Stage::new().await;
        let all = 1_000;
        let recorded = specs(&stage, "r", all, true).await;
        let announced = specs(&stage, "n", all, false).await;
        stage.run("VACUUM ANALYZE").await;
        let sizes = [1, 10, 100, 1_000];
        for (name, specs) in [(outbox, &recorded), (notify, &announced)] {
            if asked.wants(name) {
                let mut costs = Vec::new();
                for size in sizes {
                    costs.push(idle(&stage, &specs[..size], name == outbox).await);
                }
                print(name, "ms of server per s", &sizes, &costs);
            }
        }
    }
    if operations.iter().any(|name| asked.wants(name)) {
        let sizes = asked.sizes(&[10, 100], &[10, 100, 1_000]);
        let mut costs = [Vec::new(), Vec::new(), Vec::new()];
        for size in sizes {
            let stage = Stage::new().await;
            let specs = specs(&stage, "t", *size, true).await;
            stage.run("VACUUM ANALYZE").await;
            for (operation, costs) in costs.iter_mut().enumerate() {
                let before = Cost::so_far(&stage.server, &stage.client).await;
                match operation {
                    0 => stage.install(&specs).await,
                    1 => drop(trigger::verify(&stage.client, &specs).await.unwrap()),
                    _ => drop(trigger::watched(&stage.client).await.unwrap()),
                }
                let cost = Cost::so_far(&stage.server, &stage.client)
                    .await
                    .since(before);
                costs.push((cost.server + cost.client).as_secs_f64() * 1e3);
            }
        }
        for (name, costs) in operations.iter().zip(costs) {
            if asked.wants(name) {
                print(name, "ms of server and client", sizes, &costs);
            }
        }
    }
}

async fn specs(stage: &Stage, prefix: &str, count: usize, recorded: bool) -> Vec<TriggerSpec> {
    let tables = stage.tables(prefix, count).await.into_iter();
    let spec = |table| {
        let spec = TriggerSpec::new(table);
        if recorded {
            spec.every_column().outbox()
        } else {
            spec
        }
    };
    let specs: Vec<TriggerSpec> = tables.map(spec).collect();
    for specs in specs.chunks(100) {
        stage.install(specs).await;
    }
    specs
}

/// The server's time for a source without events.
async fn idle(stage: &Stage, specs: &[TriggerSpec], recorded: bool) -> f64 {
    let config: ConnectConfig = stage.url.parse().unwrap();
    let mut signals: Signals = if recorded {
        let builder = specs
            .iter()
            .cloned()
            .fold(OutboxSource::builder(config), |b, s| b.watch(s));
        supervise(builder.factory().unwrap())
    } else {
        let builder = specs
            .iter()
            .cloned()
            .fold(NotifySource::builder(config), |b, s| b.watch(s));
        supervise(builder.factory().unwrap())
    };
    while !matches!(signals.next().await, Some(Signal::Live)) {}
    let span = Duration::from_secs(12);
    // The first heartbeats may differ from later ones.
    let _ = tokio::time::timeout(Duration::from_secs(2), signals.next()).await;
    let before = Cost::so_far(&stage.server, &stage.client).await;
    let _ = tokio::time::timeout(span, async {
        while let Some(signal) = signals.next().await {
            assert!(!matches!(signal, Signal::Down(_)), "{signal:?}");
        }
    })
    .await;
    let cost = Cost::so_far(&stage.server, &stage.client)
        .await
        .since(before);
    cost.server.as_secs_f64() * 1e3 / span.as_secs_f64()
}
