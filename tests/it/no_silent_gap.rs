//! Numbered rows are written while all kinds of faults happen. Each row that a subscriber did not receive lies in a gap that a
//! resync announced.
//!
//! `PGHERALD_SEED` repeats a run. `PGHERALD_FAULTS` sets the number of faults.

use std::time::Duration;

use actix::Actor;
use pgherald::__private::host::events::Split;
use pgherald::{ListenerActor, Operation, SubscribeHealth};
use pgherald_testkit::{FaultProxy, Postgres, Probe};

use crate::numbers::{Subscribers, Writer};
use crate::support::{client, live, source, watched_table};

#[actix::test]
async fn every_number_is_delivered_or_lies_in_an_announced_gap_in_notify_mode() {
    every_number_is_accounted_for(Mode::Announced).await;
}

#[actix::test]
async fn every_number_is_delivered_in_outbox_mode_unless_a_server_crashed_or_a_queue_was_full() {
    every_number_is_accounted_for(Mode::Recorded).await;
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Announced,
    Recorded,
}

async fn every_number_is_accounted_for(mode: Mode) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = number("PGHERALD_SEED").unwrap_or_else(|| fastrand::u64(..));
    let faults = number("PGHERALD_FAULTS").unwrap_or(30);
    println!("seed {seed}, {faults} faults");
    let mut random = fastrand::Rng::with_seed(seed);

    let server = Postgres::start().await.unwrap();
    let setup = client(&server.url()).await;
    let spec = watched_table(&setup, "numbers").await;
    let spec = match mode {
        Mode::Announced => spec.operations(Operation::Insert),
        Mode::Recorded => spec.operations(Operation::Insert).outbox(),
    };
    crate::support::install(&setup, &spec).await;
    drop(setup);
    let proxy = FaultProxy::start((server.host(), server.port()))
        .await
        .unwrap();
    let listener_source = source(&proxy.url(&server.url()))
        .watch(spec)
        .connect_timeout(Duration::from_secs(2));
    let listener = match mode {
        Mode::Announced => ListenerActor::new(listener_source.factory().unwrap()),
        Mode::Recorded => {
            let source = listener_source.split_outbox().1;
            ListenerActor::new(source.factory().unwrap())
        }
    };
    let listener = listener.start();

    let health = Probe::start();
    listener
        .send(SubscribeHealth(health.health()))
        .await
        .unwrap();
    let subscribers = Subscribers::new(&listener).await;
    live(&health).await;

    let mut writer = Writer::new(server.url());
    let mut crashes = 0;
    for _ in 0..faults {
        writer.write(&mut random).await;
        let fault = random.u8(0..7);
        match fault {
            0 => drop(server.terminate_backends(Some("listener")).await),
            1 => drop(server.terminate_backends(None).await),
            2 => server.restart().await.unwrap(),
            3 => {
                crashes += 1;
                server.kill().await.unwrap();
                server.start_again().await.unwrap();
            }
            4 => proxy.cut(),
            5 => {
                proxy.refuse();
                proxy.cut();
            }
            _ => proxy.stall(),
        }
        writer.write(&mut random).await;
        // Lasting faults sometimes end before they are detected.
        if fault >= 5 && random.bool() {
            crate::support::not_live(&health).await;
            writer.write(&mut random).await;
        }
        proxy.resume();
        if random.bool() {
            live(&health).await;
        }
    }
    live(&health).await;
    let stats = subscribers.finish(&mut writer, &health, seed).await;
    if mode == Mode::Recorded {
        let fast = &stats[0];
        assert_eq!(fast.lost, 0, "seed {seed}");
        assert!(fast.resyncs <= 1 + crashes, "{fast:?}, seed {seed}");
    }
}
