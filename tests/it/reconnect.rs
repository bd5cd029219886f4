//! Failed connections are made again, and a resync announces possibly missed events.

use std::time::Duration;

use pgherald::ErrorKind;
use pgherald_testkit::{FaultProxy, Postgres, Sight};

use crate::support::{
    DEADLINE, cause, client, database, insert, listen, live, not_live, numbers, source,
    watched_table,
};

#[actix::test]
async fn after_a_reconnect_the_resync_comes_before_the_first_event() {
    let url = database().await;
    let client = client(&url).await;
    let spec = watched_table(&client, "t").await;
    let proxy = FaultProxy::start(("127.0.0.1", port(&url))).await.unwrap();
    let (_listener, probe) = listen(source(&proxy.url(&url)).watch(spec)).await;
    live(&probe).await;
    insert(&client, "t", 1).await;
    probe
        .wait_for("row 1", DEADLINE, |seen| numbers(seen) == [1])
        .await
        .unwrap();

    proxy.refuse();
    proxy.cut();
    not_live(&probe).await;
    insert(&client, "t", 2).await;
    proxy.resume();
    live(&probe).await;
    insert(&client, "t", 3).await;

    let seen = probe
        .wait_for("row 3", DEADLINE, |seen| numbers(seen).contains(&3))
        .await
        .unwrap();
    assert_eq!(numbers(&seen), [1, 3]);
    let log: Vec<String> = seen
        .log()
        .iter()
        .map(|sight| match sight {
            Sight::Resync(resync) => resync.to_string(),
            Sight::Events(events) => events[0].to_string(),
        })
        .collect();
    assert_eq!(
        log,
        [
            "started",
            "insert public.t 1",
            "reconnected",
            "insert public.t 3"
        ]
    );
}

#[actix::test]
async fn a_server_that_is_down_at_the_start_is_connected_to_when_it_comes_up() {
    let server = Postgres::start().await.unwrap();
    let url = server.url();
    let setup = client(&url).await;
    let spec = watched_table(&setup, "t").await;
    server.stop().await.unwrap();

    let (_listener, probe) = listen(source(&url).watch(spec)).await;
    let seen = not_live(&probe).await;
    assert!(cause(&seen).is_connection(), "{}", cause(&seen).chain());

    server.start_again().await.unwrap();
    live(&probe).await;
    let writer = client(&url).await;
    insert(&writer, "t", 1).await;
    probe
        .wait_for("row 1", DEADLINE, |seen| numbers(seen) == [1])
        .await
        .unwrap();
}

#[actix::test]
async fn a_wrong_password_is_reported_and_retried_until_it_is_corrected() {
    let server = Postgres::builder().password("right").start().await.unwrap();
    let admin = client(&server.url()).await;
    admin
        .batch_execute("CREATE ROLE app LOGIN PASSWORD 'old'")
        .await
        .unwrap();
    let url = format!("postgresql://app:new@127.0.0.1:{}/postgres", server.port());

    let (_listener, probe) = listen(source(&url)).await;
    let seen = not_live(&probe).await;
    assert_eq!(
        cause(&seen).kind(),
        ErrorKind::Authentication,
        "{}",
        cause(&seen).chain()
    );
    assert!(
        cause(&seen).chain().contains("app"),
        "{}",
        cause(&seen).chain()
    );

    admin
        .batch_execute("ALTER ROLE app PASSWORD 'new'")
        .await
        .unwrap();
    live(&probe).await;
}

#[actix::test]
async fn a_replica_is_rejected_until_it_is_promoted() {
    let server = Postgres::start().await.unwrap();
    server.stop().await.unwrap();
    std::fs::write(server.data_dir().join("standby.signal"), "").unwrap();
    server.start_again().await.unwrap();

    let (_listener, probe) = listen(source(&server.url())).await;
    let seen = not_live(&probe).await;
    assert_eq!(
        cause(&seen).kind(),
        ErrorKind::Replica,
        "{}",
        cause(&seen).chain()
    );
    assert!(cause(&seen).hint().contains("primary"));

    client(&server.url())
        .await
        .batch_execute("SELECT pg_promote()")
        .await
        .unwrap();
    live(&probe).await;
}

fn port(url: &str) -> u16 {
    let (_, rest) = url.rsplit_once(':').unwrap();
    rest.split('/').next().unwrap().parse().unwrap()
}

#[actix::test]
async fn dropping_the_future_of_the_next_signal_loses_no_signal() {
    use pgherald::{Signal, Source};
    let server = Postgres::shared().await.unwrap();
    let url = server.create_database().await.unwrap();
    let proxy = FaultProxy::start((server.host(), server.port()))
        .await
        .unwrap();
    proxy.delay(Duration::from_millis(5));
    let mut source = source(&proxy.url(&url)).build().unwrap();
    let live = async {
        loop {
            tokio::select! {
                biased;
                signal = source.next() => {
                    if matches!(signal, Signal::Live) {
                        return;
                    }
                }
                () = tokio::time::sleep(Duration::from_millis(3)) => {}
            }
        }
    };
    tokio::time::timeout(DEADLINE, live)
        .await
        .expect("the source connects nevertheless");
}
