//! Clients that continue from a position.

use std::collections::HashMap;
use std::time::Duration;

use pgherald_core::ConnectConfig;
use pgherald_distributor::Limits;
use pgherald_testkit::Postgres;
use serde_json::Value;

use crate::support::{Events, Scene, Socket, soon};

/// A client of either kind.
enum Client {
    Ws(Socket),
    Sse(Events),
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Ws,
    Sse,
}

impl Client {
    async fn connect(scene: &Scene, kind: Kind, query: &str, since: Option<&str>) -> Self {
        match kind {
            Kind::Ws => {
                let since = since.map(|id| format!("&since={id}")).unwrap_or_default();
                Self::Ws(scene.ws(&format!("/v1/ws?{query}{since}")).await)
            }
            Kind::Sse => {
                let header = since.map(|id| format!("last-event-id: {id}\r\n"));
                let path = format!("/v1/events?{query}");
                Self::Sse(scene.sse_with(&path, &header.unwrap_or_default()).await)
            }
        }
    }

    /// The next message, and its id.
    async fn next(&mut self) -> (Value, Option<String>) {
        let (text, id) = match self {
            Self::Ws(socket) => (socket.next().await.unwrap(), None),
            Self::Sse(events) => {
                let block = events.block().await.unwrap();
                let field = |name: &str| {
                    let mut lines = block.lines();
                    lines.find_map(|line| Some(line.strip_prefix(name)?.to_owned()))
                };
                (field("data: ").unwrap(), Some(field("id: ")))
            }
        };
        let message: Value = serde_json::from_str(&text).unwrap();
        let in_message = message["id"].as_str().map(str::to_owned);
        if let Some(id) = id {
            assert_eq!(id, in_message, "{text}");
        }
        (message, in_message)
    }
}

/// What a client knows across its connections.
#[derive(Debug, Default)]
struct Account {
    position: Option<String>,
    /// The types of messages but for events and heartbeats, with the reasons of resyncs.
    log: Vec<String>,
    keys: Vec<i64>,
}

impl Account {
    async fn read(&mut self, client: &mut Client) -> String {
        let (message, id) = client.next().await;
        if id.is_some() {
            self.position = id;
        }
        let kind = message["type"].as_str().unwrap().to_owned();
        match &*kind {
            "event" => {
                let key = message["event"]["keys"][0].as_i64().unwrap();
                self.keys.push(key);
            }
            "heartbeat" => {}
            "hello" => self.log.push(format!("hello {}", message["resumable"])),
            "resync" => self.log.push(format!("resync {}", message["reasons"][0])),
            _ => self.log.push(kind.clone()),
        }
        kind
    }

    async fn read_to(&mut self, client: &mut Client, kind: &str) {
        soon(kind, async { while self.read(client).await != kind {} }).await;
    }

    fn take(&mut self) -> (Vec<String>, Vec<i64>) {
        (
            std::mem::take(&mut self.log),
            std::mem::take(&mut self.keys),
        )
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

const BEGUN: [&str; 3] = ["hello true", "resync \"started\"", "live"];
const RESUMED: [&str; 3] = ["hello true", "resumed", "live"];

#[actix_web::test]
async fn a_client_receives_what_was_recorded_while_it_was_away() {
    let scene = Scene::recorded(Limits::default()).await;
    for kind in [Kind::Ws, Kind::Sse] {
        scene.sql("DELETE FROM users").await;
        let mut account = Account::default();
        let mut client = Client::connect(&scene, kind, "operation=insert", None).await;
        account.read_to(&mut client, "live").await;
        scene.insert(1, "a", "").await;
        scene.insert(2, "a", "").await;
        account.read_to(&mut client, "event").await;
        account.read_to(&mut client, "event").await;
        assert_eq!(account.take(), (words(&BEGUN), vec![1, 2]), "{kind:?}");
        drop(client);
        // Nothing that the client has asked for.
        scene.sql("DELETE FROM users WHERE id = 2").await;
        let since = account.position.clone();
        let mut client = Client::connect(&scene, kind, "operation=insert", since.as_deref()).await;
        account.read_to(&mut client, "live").await;
        assert_eq!(account.take(), (words(&RESUMED), vec![]), "{kind:?}");
        drop(client);
        scene.insert(3, "a", "").await;
        scene.sql("DELETE FROM users WHERE id = 1").await;
        scene.insert(4, "a", "").await;
        let since = account.position.clone();
        let mut client = Client::connect(&scene, kind, "operation=insert", since.as_deref()).await;
        account.read_to(&mut client, "live").await;
        assert_eq!(account.take(), (words(&RESUMED), vec![3, 4]), "{kind:?}");
        scene.insert(5, "a", "").await;
        account.read_to(&mut client, "event").await;
        assert_eq!(account.take(), (vec![], vec![5]), "{kind:?}");
    }
    scene.end().await;
}

#[actix_web::test]
async fn a_client_that_received_no_event_continues_from_live_and_from_heartbeats() {
    let limits = Limits {
        heartbeat: Duration::from_millis(100),
        ..Limits::default()
    };
    let scene = Scene::recorded(limits).await;
    let query = "column.tenant=b";
    let mut account = Account::default();
    let mut client = Client::connect(&scene, Kind::Ws, query, None).await;
    account.read_to(&mut client, "live").await;
    let at_live = account.position.clone().expect("an id in live");
    scene.insert(1, "a", "").await;
    // The position moves with events of other clients.
    while account.position.as_ref() == Some(&at_live) {
        account.read_to(&mut client, "heartbeat").await;
    }
    drop(client);
    scene.insert(2, "b", "").await;
    account.take();
    for since in [at_live, account.position.clone().unwrap()] {
        let mut client = Client::connect(&scene, Kind::Ws, query, Some(&since)).await;
        account.read_to(&mut client, "live").await;
        assert_eq!(account.take(), (words(&RESUMED), vec![2]));
    }
    scene.end().await;
}

#[actix_web::test]
async fn a_position_is_valid_in_another_process_and_after_a_restart_of_the_server() {
    let server = Postgres::start().await.unwrap();
    let scene = Scene::recorded_on(server.url(), Limits::default()).await;
    let mut account = Account::default();
    let mut client = Client::connect(&scene, Kind::Sse, "", None).await;
    account.read_to(&mut client, "live").await;
    scene.insert(1, "a", "").await;
    account.read_to(&mut client, "event").await;
    account.take();
    drop(client);
    scene.insert(2, "a", "").await;
    scene.end().await;
    server.stop().await.unwrap();
    server.start_again().await.unwrap();
    let scene = Scene::recorded_on(server.url(), Limits::default()).await;
    let mut client = Client::connect(&scene, Kind::Sse, "", account.position.as_deref()).await;
    scene.insert(3, "a", "").await;
    while account.keys.len() < 2 || account.log.last().is_none_or(|last| last != "live") {
        account.read(&mut client).await;
    }
    assert_eq!(account.take(), (words(&RESUMED), vec![2, 3]));
    scene.end().await;
}

#[actix_web::test]
async fn a_position_that_is_not_valid_any_more_is_a_resync() {
    let lost = ["hello true", "resync \"position_lost\"", "live"];
    let limits = Limits {
        replay: 3,
        ..Limits::default()
    };
    let scene = Scene::recorded(limits).await;
    let mut account = Account::default();
    let mut client = Client::connect(&scene, Kind::Ws, "", None).await;
    account.read_to(&mut client, "live").await;
    account.take();
    drop(client);
    let resumes = async |account: &mut Account, since: &str| {
        let mut client = Client::connect(&scene, Kind::Ws, "", Some(since)).await;
        account.read_to(&mut client, "live").await;
        account.take().0
    };
    let valid = account.position.clone().unwrap();
    assert_eq!(resumes(&mut account, &valid).await, words(&RESUMED));
    let (start, rest) = valid.split_at(1);
    let other_outbox = format!("{}{rest}", if start == "0" { "1" } else { "0" });
    for since in ["x", "", "%27%3B--", &other_outbox] {
        let log = resumes(&mut account, since).await;
        // The second resync is that of the subscription.
        assert_eq!(&log[..2], &words(&lost)[..2], "{since}");
        assert_eq!(log.last().unwrap(), "live", "{since}");
    }

    for id in 1..=4 {
        scene.insert(id, "a", "").await;
    }
    let log = resumes(&mut account, &valid).await;
    assert_eq!(log, words(&lost), "beyond the limit");

    // The source has noticed that the triggers were altered, or will while the client is connected.
    for is_noticed in [true, false] {
        let mut watching = Client::connect(&scene, Kind::Ws, "", None).await;
        account.read_to(&mut watching, "live").await;
        let valid = account.position.clone().unwrap();
        account.take();
        scene
            .sql("ALTER TABLE users DISABLE TRIGGER ALL; ALTER TABLE users ENABLE TRIGGER ALL")
            .await;
        if is_noticed {
            account.read_to(&mut watching, "resync").await;
            account.take();
        }
        let mut client = Client::connect(&scene, Kind::Ws, "", Some(&valid)).await;
        account.read_to(&mut client, "resync").await;
        let log = account.take().0;
        if is_noticed {
            assert_eq!(log, words(&lost[..2]));
        }
    }
    scene.end().await;
}

/// The source keeps its session, so the client must not wait for ever.
#[actix_web::test]
async fn a_client_begins_anew_if_the_database_refuses_connections() {
    let scene = Scene::recorded(Limits::default()).await;
    let mut account = Account::default();
    let mut client = Client::connect(&scene, Kind::Ws, "", None).await;
    account.read_to(&mut client, "live").await;
    account.take();
    let database = scene.client.query_one("SELECT current_database()", &[]);
    let database: String = database.await.unwrap().get(0);
    let allow = async |is_allowed: bool| {
        let server = Postgres::shared().await.unwrap();
        let config: ConnectConfig = server.url().parse().unwrap();
        let sql = format!("ALTER DATABASE {database} ALLOW_CONNECTIONS {is_allowed}");
        let client = config.client().await.unwrap();
        client.batch_execute(&sql).await.unwrap();
    };
    allow(false).await;
    let since = account.position.clone();
    let mut client = Client::connect(&scene, Kind::Ws, "", since.as_deref()).await;
    account.read_to(&mut client, "live").await;
    let begun = ["hello true", "resync \"position_lost\"", "live"];
    assert_eq!(account.take().0, words(&begun));
    scene.insert(1, "a", "").await;
    account.read_to(&mut client, "event").await;
    allow(true).await;
    scene.end().await;
}

#[actix_web::test]
async fn a_client_of_a_table_that_is_not_recorded_begins_anew() {
    let scene = Scene::new(Limits::default()).await;
    let mut account = Account::default();
    let mut client = Client::connect(&scene, Kind::Ws, "", Some("x")).await;
    account.read_to(&mut client, "live").await;
    assert_eq!(account.position, None);
    let begun = ["hello false", "resync \"started\"", "live"];
    assert_eq!(account.take(), (words(&begun), vec![]));
    scene.end().await;
}

/// Writers whose transactions overlap, and the numbers that they have committed.
async fn write(
    config: ConnectConfig,
    writer: i64,
    seed: u64,
    until: tokio::sync::watch::Receiver<bool>,
) -> i64 {
    let mut client = config.client().await.unwrap();
    let mut last = 0;
    let mut random = fastrand::Rng::with_seed(seed);
    while !*until.borrow() {
        let transaction = client.transaction().await.unwrap();
        // Several rows, of which the first ones take their ids long before the commit.
        for _ in 0..=random.i64(0..4) {
            last += 1;
            let sql = "INSERT INTO users VALUES ($1, $2, '')";
            let (id, tenant) = (last * 10 + writer, format!("w{writer}"));
            transaction.execute(sql, &[&id, &tenant]).await.unwrap();
            if random.bool() {
                tokio::time::sleep(Duration::from_millis(random.u64(0..4))).await;
            }
        }
        transaction.commit().await.unwrap();
    }
    last
}

/// Disconnects at random, in the middle of replays too, and checks that each number arrives once and in order of its writer.
async fn disconnects(kind: Kind, count: usize) {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let scene = Scene::recorded(Limits::default()).await;
    let config: ConnectConfig = scene.database.parse().unwrap();
    let (stop, until) = tokio::sync::watch::channel(false);
    let mut account = Account::default();
    let mut client = Client::connect(&scene, kind, "", None).await;
    account.read_to(&mut client, "live").await;
    assert_eq!(account.take().0, words(&BEGUN));
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            actix_web::rt::spawn(write(config.clone(), writer, random.u64(..), until.clone()))
        })
        .collect();
    for _ in 0..count {
        for _ in 0..random.usize(0..60) {
            account.read(&mut client).await;
        }
        drop(client);
        let since = account.position.clone().unwrap();
        client = Client::connect(&scene, kind, "", Some(&since)).await;
    }
    stop.send_replace(true);
    let mut last = HashMap::new();
    for (writer, task) in (0..).zip(writers) {
        last.insert(writer, task.await.unwrap());
    }
    let written: i64 = last.values().sum();
    soon("all numbers", async {
        while account.keys.len() < usize::try_from(written).unwrap() {
            account.read(&mut client).await;
        }
    })
    .await;
    let resyncs = account
        .log
        .iter()
        .filter(|line| line.starts_with("resync") || *line == "lagged");
    assert_eq!(resyncs.count(), 0, "{:?}", account.log);
    let mut next = HashMap::<i64, i64>::new();
    for key in account.keys {
        let (writer, number) = (key % 10, key / 10);
        let expected = next.entry(writer).or_insert(1);
        assert_eq!(number, *expected, "of writer {writer}");
        *expected += 1;
    }
    scene.end().await;
}

#[actix_web::test]
async fn each_number_arrives_once_over_websocket_in_spite_of_200_disconnects() {
    disconnects(Kind::Ws, 200).await;
}

#[actix_web::test]
async fn each_number_arrives_once_by_server_sent_events_in_spite_of_200_disconnects() {
    disconnects(Kind::Sse, 200).await;
}
