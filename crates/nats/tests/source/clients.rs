//! Many clients on one relay: PostgreSQL sees the connections of the relay only.

use std::sync::Arc;
use std::time::Duration;

use pgherald::{Signal, Source};
use pgherald_nats::NatsSource;
use pgherald_testkit::Postgres;
use tokio::sync::Barrier;
use tokio_postgres::Client;

use crate::fake::PATIENT;
use crate::faults::Remote;
use crate::support::{DEADLINE, client, install, watched_table};

const CLIENTS: usize = 200;

#[tokio::test]
async fn two_hundred_clients_need_no_connection_to_postgresql() {
    let server = Postgres::start().await.unwrap();
    let writer = client(&server.url()).await;
    let spec = watched_table(&writer, "numbers").await.outbox();
    install(&writer, &spec).await;
    let remote = Remote::new().await;
    let source = remote.start(&server.url(), &spec);
    let build = source.max_lag(PATIENT).factory().unwrap();

    let mut alone = build();
    live(&mut alone).await;
    let with_one = connections(&writer).await;
    let all_live = Arc::new(Barrier::new(CLIENTS + 1));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (mut source, all_live) = (build(), Arc::clone(&all_live));
            tokio::spawn(async move {
                live(&mut source).await;
                all_live.wait().await;
                events(&mut source, 10).await;
            })
        })
        .collect();
    tokio::time::timeout(DEADLINE, all_live.wait())
        .await
        .unwrap();
    writer
        .batch_execute("INSERT INTO numbers SELECT generate_series(1, 10)")
        .await
        .unwrap();
    for client in clients {
        client.await.unwrap();
    }
    let with_all = connections(&writer).await;
    println!(
        "{with_one} connections with one client, {with_all} with {}",
        CLIENTS + 1
    );
    assert_eq!(with_all, with_one);
}

async fn connections(client: &Client) -> i64 {
    let count = "select count(*) from pg_stat_activity where backend_type = 'client backend'";
    client.query_one(count, &[]).await.unwrap().get(0)
}

async fn live(source: &mut NatsSource) {
    let live = async { while !matches!(source.next().await, Signal::Live) {} };
    tokio::time::timeout(DEADLINE, live).await.unwrap();
}

/// Waits for a number of events. Nothing but events arrives.
async fn events(source: &mut NatsSource, count: usize) {
    let mut received = 0;
    while received < count {
        match tokio::time::timeout(DEADLINE, source.next()).await.unwrap() {
            Signal::Events(events) => received += events.len(),
            other => panic!("{other:?}"),
        }
    }
    let more = tokio::time::timeout(Duration::from_millis(1), source.next()).await;
    assert!(!matches!(more, Ok(Signal::Events(_))), "{more:?}");
}
