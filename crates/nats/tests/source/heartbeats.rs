//! Which heartbeats count.

use std::time::{Duration, Instant};

use pgherald::{Error, ErrorKind, Signal, Source};
use pgherald_nats::NatsSource;
use pgherald_testkit::FaultProxy;
use pgherald_testkit::nats::NatsServer;

use crate::fake::{FakeRelay, PATIENT, source};
use crate::signals::{live, word};
use crate::support::soon;

/// Returns the first error while heartbeats are sent.
async fn down_with(source: &mut NatsSource, relay: &FakeRelay) -> Error {
    let error = async {
        loop {
            if let Signal::Down(error) = source.next().await {
                return error;
            }
        }
    };
    relay.beating(error).await
}

#[tokio::test]
async fn heartbeats_do_not_count_after_the_consumer_has_ended_with_its_stream() {
    let server = NatsServer::start().await.unwrap();
    let relay = FakeRelay::new(&server).await;
    let max_lag = Duration::from_secs(2);
    let mut source = source(&server.url()).max_lag(max_lag).build().unwrap();
    for key in 0..10 {
        relay.insert(key).await;
    }
    live(&mut source, &relay).await;
    // As after a restore: heartbeats name the same stream, and the source has received greater sequences.
    relay.recreate_stream().await;
    relay.insert(1).await;
    let error = down_with(&mut source, &relay).await;
    // The source is not live before it detects that the consumer is silent.
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.to_string().contains("has not received"), "{error}");
    let words = live(&mut source, &relay).await;
    assert!(words.ends_with("reconnected live"), "{words}");
}

#[tokio::test]
async fn heartbeats_that_name_another_stream_end_the_session() {
    let server = NatsServer::start().await.unwrap();
    let mut relay = FakeRelay::new(&server).await;
    let mut source = source(&server.url()).max_lag(PATIENT).build().unwrap();
    live(&mut source, &relay).await;
    relay.incarnation = "B";
    let error = down_with(&mut source, &relay).await;
    assert_eq!(error.kind(), ErrorKind::Disconnected, "{error}");
    assert!(error.to_string().contains("created again"), "{error}");
    assert_eq!(live(&mut source, &relay).await, "reconnected live");
    relay.insert(1).await;
    assert_eq!(word(&mut source).await, "#1");
}

#[tokio::test]
async fn relays_of_two_groups_with_one_prefix_are_an_error_until_one_of_them_ends() {
    let server = NatsServer::start().await.unwrap();
    let relay = FakeRelay::new(&server).await;
    let mut other = FakeRelay::on(&server).await;
    other.slices = 3;
    let max_lag = Duration::from_secs(3);
    let mut source = source(&server.url()).max_lag(max_lag).build().unwrap();
    live(&mut source, &relay).await;
    let error = other.beating(down_with(&mut source, &relay)).await;
    let error = error.to_string();
    assert!(error.contains("two groups, "), "{error}");
    assert!(
        error.contains("with 2 and") && error.contains("with 3 slices"),
        "{error}"
    );
    // The first group was created again with another number of slices, for example.
    let words = live(&mut source, &other).await;
    assert!(words.ends_with("reconnected live"), "{words}");
}

#[tokio::test]
async fn age_of_a_heartbeat_includes_its_delay_on_the_way() {
    let server = NatsServer::start().await.unwrap();
    let relay = FakeRelay::new(&server).await;
    let max_lag = Duration::from_secs(6);
    let mut source = source(&server.url()).max_lag(max_lag).build().unwrap();
    let proxy = FaultProxy::start((server.host(), server.port()))
        .await
        .unwrap();
    let mut distant = FakeRelay::at(vec![proxy.url(&server.url())]).await;
    distant.started = relay.started;
    live(&mut source, &distant).await;
    let last = relay.last_sequence().await;
    proxy.stall();
    let sent = Instant::now();
    let sending = async {
        tokio::join!(
            distant.beat_of(0, last, Duration::ZERO),
            distant.beat_of(1, last, Duration::ZERO)
        )
    };
    let delaying = async {
        tokio::time::sleep(max_lag * 3 / 4).await;
        proxy.resume();
    };
    let (_, (), signal) = tokio::join!(sending, delaying, soon(source.next()));
    let late = sent.elapsed();
    assert!(matches!(signal, Signal::Down(_)), "{signal:?}");
    assert!(
        late < max_lag * 3 / 2,
        "live for {late:?} after the last heartbeat was sent"
    );
}

#[tokio::test]
async fn age_of_a_heartbeat_includes_its_time_in_the_queue() {
    let server = NatsServer::start().await.unwrap();
    let relay = FakeRelay::new(&server).await;
    let max_lag = Duration::from_millis(500);
    let mut source = source(&server.url()).max_lag(max_lag).build().unwrap();
    live(&mut source, &relay).await;
    // The relay ends, and the program polls its source too late. If the machine is busy, the heartbeat is even older.
    relay.beat().await;
    tokio::time::sleep(max_lag * 2).await;
    assert_eq!(word(&mut source).await, "Timeout");
    // The consumer has been heard again after this time.
    let next = tokio::time::timeout(max_lag, source.next()).await;
    assert!(next.is_err(), "{next:?}");
    assert_eq!(live(&mut source, &relay).await, "reconnected live");
}
