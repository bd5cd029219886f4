//! A connection with a silent peer is closed within the heartbeat's interval plus its deadline.

use std::time::{Duration, Instant};

use pgherald_testkit::{FaultProxy, Postgres};

use crate::support::{
    DEADLINE, cause, client, insert, listen, live, not_live, numbers, source, watched_table,
};

#[actix::test]
async fn the_heartbeat_detects_a_stalled_connection() {
    let server = Postgres::shared().await.unwrap();
    let url = server.create_database().await.unwrap();
    let client = client(&url).await;
    let spec = watched_table(&client, "t").await;
    let proxy = FaultProxy::start((server.host(), server.port()))
        .await
        .unwrap();
    // Only the heartbeat can detect the silence: no data is outstanding, and TCP reports nothing for minutes.
    let interval = Duration::from_millis(300);
    let deadline = Duration::from_millis(400);
    let source = source(&proxy.url(&url))
        .watch(spec)
        .heartbeat(interval, deadline);
    let (_listener, probe) = listen(source).await;
    live(&probe).await;

    proxy.stall();
    let stalled = Instant::now();
    let seen = not_live(&probe).await;
    let noticed = stalled.elapsed();
    assert!(
        cause(&seen).to_string().contains("heartbeat"),
        "{}",
        cause(&seen).chain()
    );
    println!(
        "half-open connection noticed after {noticed:?}, promised {:?}",
        interval + deadline
    );

    insert(&client, "t", 1).await;
    proxy.resume();
    live(&probe).await;
    insert(&client, "t", 2).await;
    probe
        .wait_for("row 2", DEADLINE, |seen| numbers(seen).contains(&2))
        .await
        .unwrap();
}

#[actix::test]
async fn a_frozen_server_is_detected_and_reconnected_to_when_it_resumes() {
    let server = Postgres::start().await.unwrap();
    let (_listener, probe) = listen(source(&server.url())).await;
    live(&probe).await;
    server.pause().await.unwrap();
    not_live(&probe).await;
    server.resume().await.unwrap();
    live(&probe).await;
}
