//! Numbered rows are written while all kinds of faults happen to the database, the relay, the NATS server and the connection to it.
//! Each row that a subscriber did not receive lies in a gap that a resync announced.
//!
//! `PGHERALD_SEED` repeats a run. `PGHERALD_FAULTS` sets the number of faults.

use actix::Actor;
use pgherald::{ListenerActor, Operation, SubscribeHealth};
use pgherald_testkit::{FaultProxy, Postgres, Probe};

use crate::faults::{FAULTS, LOSSES, Remote};
use crate::numbers::{Subscribers, Writer};
use crate::settings::number;
use crate::support::{client, install, live, not_live, watched_table};

#[actix::test]
async fn every_number_is_delivered_by_a_relay_or_lies_in_an_announced_gap() {
    let seed = number("PGHERALD_SEED").unwrap_or_else(|| fastrand::u64(..));
    let faults = number("PGHERALD_FAULTS").unwrap_or(24);
    println!("seed {seed}, {faults} faults");
    crate::process::log();
    let mut random = fastrand::Rng::with_seed(seed);

    let server = Postgres::start().await.unwrap();
    let setup = client(&server.url()).await;
    let spec = watched_table(&setup, "numbers").await;
    let spec = spec.operations(Operation::Insert).outbox();
    install(&setup, &spec).await;
    drop(setup);
    let proxy = FaultProxy::start((server.host(), server.port()))
        .await
        .unwrap();
    let remote = Remote::new().await;
    let url = format!("{}?application_name=listener", proxy.url(&server.url()));
    // Numbers of one slice arrive in their order.
    remote.start_relay(&url, 1, &spec);
    let source = remote.source();
    let listener = ListenerActor::new(source.factory().unwrap()).start();
    let health = Probe::start();
    listener
        .send(SubscribeHealth(health.health()))
        .await
        .unwrap();
    // A relay stores events again that it had stored shortly before the stream was created again.
    let subscribers = Subscribers::new(&listener).await.repeating();
    live(&health).await;

    let mut writer = Writer::new(server.url());
    for _ in 0..faults {
        writer.write(&mut random).await;
        let fault = random.usize(0..FAULTS.len() + 8);
        tracing::info!(fault = FAULTS.get(fault.wrapping_sub(8)), number = fault);
        match fault {
            0 => drop(server.terminate_backends(Some("listener")).await),
            1 => drop(server.terminate_backends(None).await),
            2 => server.restart().await.unwrap(),
            3 => {
                server.kill().await.unwrap();
                server.start_again().await.unwrap();
            }
            4 => proxy.cut(),
            5 => remote.inject(LOSSES[0]).await,
            6 => remote.inject(LOSSES[1]).await,
            7 => proxy.stall(),
            fault => remote.inject(FAULTS[fault - 8]).await,
        }
        writer.write(&mut random).await;
        // Lasting faults sometimes end before they are detected.
        if fault > 6 && random.bool() {
            not_live(&health).await;
            writer.write(&mut random).await;
        }
        proxy.resume();
        remote.clone().repair().await;
        if random.bool() {
            live(&health).await;
        }
    }
    live(&health).await;
    subscribers.finish(&mut writer, &health, seed).await;
}
