//! Channels that are added and removed while the source runs.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use actix::Addr;
use pgherald::{
    ChannelName, Channels, ErrorKind, ListenerActor, NotifySourceBuilder, Payloads, PayloadsEnded,
};
use pgherald_testkit::{FaultProxy, Postgres, Probe};
use tokio::time::timeout;
use tokio_postgres::Client;

use crate::support::{
    DEADLINE, client, database, insert, listen, live, not_live, numbers, source, watched_table,
};

fn channel(name: &str) -> ChannelName {
    ChannelName::new(name).unwrap()
}

/// Starts a listener whose source listens to added channels.
async fn start(source: NotifySourceBuilder) -> (Channels, Addr<ListenerActor>, Probe) {
    let channels = Channels::new();
    let (listener, probe) = self::listen(source.channels(&channels)).await;
    (channels, listener, probe)
}

async fn payloads(channels: &Channels, name: &str) -> Payloads {
    timeout(DEADLINE, channels.listen(channel(name)))
        .await
        .expect("the server confirms")
        .unwrap()
}

async fn next(payloads: &mut Payloads) -> Result<String, PayloadsEnded> {
    let received = timeout(DEADLINE, payloads.recv()).await;
    received
        .expect("a payload arrives")
        .map(|payload| payload.to_string())
}

async fn notify(client: &Client, channel: &str, payload: &str) {
    let sql = "SELECT pg_notify($1, $2)";
    client.execute(sql, &[&channel, &payload]).await.unwrap();
}

/// The number of statements in the server's log that end in `statement`.
fn logged(server: &Postgres, statement: &str) -> usize {
    let log = std::fs::read_to_string(server.log_file()).unwrap();
    log.lines()
        .filter(|line| line.contains("statement:") && line.contains(statement))
        .count()
}

#[actix::test]
async fn payloads_of_an_added_channel_arrive_unchanged_and_cause_no_signals() {
    let url = database().await;
    let client = client(&url).await;
    let spec = watched_table(&client, "t").await;
    let (channels, _listener, probe) = start(source(&url).watch(spec)).await;
    live(&probe).await;
    let mut foreign = payloads(&channels, "It's \"mine\"").await;
    let all = [
        "",
        "not json",
        "{\"operation\":\"insert\"}",
        "quotes ' \" \\ \n\r\t \u{1}",
        "ü€😀",
        &"x".repeat(7_999),
    ];
    for payload in all {
        notify(&client, "It's \"mine\"", payload).await;
        notify(&client, "another", "payload").await;
        assert_eq!(next(&mut foreign).await.as_deref(), Ok(payload));
    }
    insert(&client, "t", 1).await;
    let seen = probe.wait_for("row 1", DEADLINE, |seen| numbers(seen) == [1]);
    let resyncs = seen.await.unwrap().resyncs().count();
    assert_eq!(resyncs, 1, "only the first one");
}

#[actix::test]
async fn events_of_a_watched_table_reach_the_users_of_its_channel_too() {
    let url = database().await;
    let client = client(&url).await;
    let spec = watched_table(&client, "t").await;
    let (channels, _listener, probe) = start(source(&url).watch(spec)).await;
    live(&probe).await;
    let mut raw = payloads(&channels, ChannelName::DEFAULT).await;
    drop(payloads(&channels, ChannelName::DEFAULT).await);
    insert(&client, "t", 1).await;
    assert!(next(&mut raw).await.unwrap().contains("\"keys\""));
    drop(raw);
    // The source still listens to the channel for its table.
    insert(&client, "t", 2).await;
    let both = probe.wait_for("row 2", DEADLINE, |seen| numbers(seen) == [1, 2]);
    both.await.unwrap();
}

#[actix::test]
async fn users_of_a_channel_share_one_listen_and_the_last_one_ends_it() {
    let server = Postgres::builder()
        .setting("log_statement", "all")
        .start()
        .await
        .unwrap();
    let (channels, _listener, probe) = start(source(&server.url())).await;
    live(&probe).await;
    let client = client(&server.url()).await;
    let mut users = Vec::new();
    for _ in 0..50 {
        users.push(payloads(&channels, "shared").await);
    }
    notify(&client, "shared", "hello").await;
    for user in &mut users {
        assert_eq!(next(user).await.as_deref(), Ok("hello"));
    }
    assert_eq!(logged(&server, "statement: LISTEN \"shared\""), 1);
    users.truncate(1);
    notify(&client, "shared", "again").await;
    assert_eq!(next(&mut users[0]).await.as_deref(), Ok("again"));
    assert_eq!(logged(&server, "UNLISTEN \"shared\""), 0);
    assert_eq!(channels.len(), 1);
    users.clear();
    assert!(channels.is_empty());
    // The server handles requests in order, so this answer comes after that of UNLISTEN.
    drop(payloads(&channels, "other").await);
    assert_eq!(logged(&server, "UNLISTEN \"shared\""), 1);
}

#[actix::test]
async fn a_channel_that_is_added_during_a_reconnect_is_confirmed_after_it() {
    let server = Postgres::start().await.unwrap();
    let (channels, _listener, probe) = start(source(&server.url())).await;
    live(&probe).await;
    let mut before = payloads(&channels, "before").await;
    server.stop().await.unwrap();
    not_live(&probe).await;
    assert_eq!(next(&mut before).await, Err(PayloadsEnded::Disconnected));
    let abandoned = channels.listen(channel("abandoned"));
    assert!(timeout(Duration::ZERO, abandoned).await.is_err());
    let during = payloads(&channels, "during");
    let restart = server.start_again();
    let (mut during, restarted) = tokio::join!(during, restart);
    restarted.unwrap();
    assert_eq!(channels.len(), 1, "only the one that still waits");
    let client = client(&server.url()).await;
    notify(&client, "during", "1").await;
    assert_eq!(next(&mut during).await.as_deref(), Ok("1"));
}

#[actix::test]
async fn after_its_confirmation_a_channel_misses_nothing_without_an_end_while_backends_are_terminated()
 {
    let server = Postgres::start().await.unwrap();
    let (channels, _listener, probe) = start(source(&server.url())).await;
    live(&probe).await;
    let client = client(&server.url()).await;
    let (mut received, mut ended) = (0, 0);
    for round in 0..30 {
        let listening = payloads(&channels, "c");
        let terminated = async {
            // Sometimes before LISTEN is sent, sometimes after.
            for _ in 0..fastrand::u8(..40) {
                tokio::task::yield_now().await;
            }
            server.terminate_backends(Some("listener")).await.unwrap();
        };
        let (mut payloads, ()) = tokio::join!(listening, terminated);
        notify(&client, "c", &round.to_string()).await;
        match next(&mut payloads).await {
            Ok(payload) => {
                assert_eq!(payload, round.to_string());
                received += 1;
            }
            Err(end) => {
                assert_eq!(end, PayloadsEnded::Disconnected);
                ended += 1;
            }
        }
    }
    println!("{received} received, {ended} ended");
}

#[actix::test]
async fn a_full_queue_ends_the_payloads_of_the_slow_user_alone() {
    let url = database().await;
    let channels = Channels::with_capacity(10);
    let (_listener, probe) = listen(source(&url).channels(&channels)).await;
    live(&probe).await;
    let client = client(&url).await;
    let mut slow = payloads(&channels, "c").await;
    let mut fast = payloads(&channels, "c").await;
    for n in 0..12 {
        notify(&client, "c", &n.to_string()).await;
        assert_eq!(next(&mut fast).await, Ok(n.to_string()));
    }
    for n in 0..10 {
        assert_eq!(next(&mut slow).await, Ok(n.to_string()));
    }
    for _ in 0..2 {
        assert_eq!(next(&mut slow).await, Err(PayloadsEnded::Lagged));
    }
}

#[actix::test]
async fn a_channel_that_the_server_refuses_disturbs_no_other_channel() {
    let server = Postgres::start().await.unwrap();
    server
        .execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
        .await
        .unwrap();
    let url = server.url_for("latin");
    let (channels, _listener, probe) = start(source(&url)).await;
    live(&probe).await;
    let mut earlier = payloads(&channels, "earlier").await;
    let requested = ["a", "€", "b", "ü"].map(|name| channels.listen(channel(name)));
    let [a, euro, b, umlaut] = requested;
    let (a, euro, b, umlaut) = tokio::join!(a, euro, b, umlaut);
    let error = euro.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Query, "{error:?}");
    let client = client(&url).await;
    notify(&client, "earlier", "1").await;
    assert_eq!(next(&mut earlier).await.as_deref(), Ok("1"));
    for (name, payloads) in [("a", a), ("b", b), ("ü", umlaut)] {
        notify(&client, name, name).await;
        assert_eq!(next(&mut payloads.unwrap()).await.as_deref(), Ok(name));
    }
    assert_eq!(channels.len(), 1);
}

/// Users come and go in random order while numbers are sent. Each user receives the number that it sends itself after its
/// channel was confirmed, and has no gap before it.
#[actix::test]
async fn users_that_come_and_go_at_random_receive_their_channels_without_a_gap() {
    const CHANNELS: usize = 7;
    let seed = std::env::var("PGHERALD_SEED").ok();
    let seed = seed.map_or_else(|| fastrand::u64(..), |text| text.parse().unwrap());
    println!("seed {seed}");
    let url = database().await;
    let proxy = FaultProxy::start(("127.0.0.1", port(&url))).await.unwrap();
    proxy.delay(Duration::from_millis(1));
    let (channels, _listener, probe) = start(source(&proxy.url(&url))).await;
    live(&probe).await;
    let mut undisturbed = payloads(&channels, "undisturbed").await;
    let writer = Rc::new(client(&url).await);
    // Numbers of all channels, in the order of their commits.
    writer
        .batch_execute("CREATE SEQUENCE number")
        .await
        .unwrap();
    let users = (0..16).map(|user| {
        let mut random = fastrand::Rng::with_seed(seed + user);
        let (channels, writer) = (channels.clone(), Rc::clone(&writer));
        actix::spawn(async move {
            for _ in 0..25 {
                let name = format!("c{}", random.usize(..CHANNELS));
                if random.u8(..4) == 0 {
                    // Sometimes dropped before it is confirmed.
                    let patience = Duration::from_micros(random.u64(..3_000));
                    let _ = timeout(patience, channels.listen(channel(&name))).await;
                    continue;
                }
                let mut payloads = payloads(&channels, &name).await;
                for _ in 0..random.u8(1..4) {
                    let sql = "WITH next AS (SELECT nextval('number') AS n) \
                               SELECT n, pg_notify($1, n::text), pg_notify('undisturbed', n::text) FROM next";
                    let row = writer.query_one(sql, &[&name]).await.unwrap();
                    let own = row.get::<_, i64>(0).to_string();
                    while next(&mut payloads).await.unwrap() != own {}
                }
            }
        })
    });
    for user in users.collect::<Vec<_>>() {
        timeout(DEADLINE, user)
            .await
            .unwrap_or_else(|_| panic!("a payload is missing, seed {seed}"))
            .unwrap();
    }
    let last: i64 = writer
        .query_one("SELECT last_value FROM number", &[])
        .await
        .unwrap()
        .get(0);
    let mut numbers = BTreeSet::new();
    while numbers.len() < usize::try_from(last).unwrap() {
        let number: i64 = next(&mut undisturbed).await.unwrap().parse().unwrap();
        assert!(numbers.insert(number), "{number} twice, seed {seed}");
    }
    assert_eq!(channels.len(), 1, "all users but one have left");
    let resyncs = probe.seen();
    assert_eq!(resyncs.log().len(), 1, "{:?}, seed {seed}", resyncs.log());
}

fn port(url: &str) -> u16 {
    let config: tokio_postgres::Config = url.parse().unwrap();
    config.get_ports()[0]
}
