//! A handler receives exactly the events of its type.

use std::time::Duration;

use actix::Actor;
use pgherald::trigger::TriggerSpec;
use pgherald::{
    Attempt, Changed, EphemeralOptions, EventHandler, HandlerActor, HandlerResult, Herald,
    Inserted, ListenerActor, Resync, Table,
};
use serde::Deserialize;
use tokio::sync::mpsc;

use crate::support::{DEADLINE, client, config, database};

#[derive(Debug, PartialEq, Deserialize)]
struct User {
    email: String,
}

impl Table for User {
    const NAME: &'static str = "users";
    const KEY: &'static [&'static str] = &["id"];
    type Key = i64;
}

struct Order;

impl Table for Order {
    const NAME: &'static str = "orders";
    const KEY: &'static [&'static str] = &["shop", "number"];
    type Key = (String, i32);
}

/// Forwards its rows.
struct NewUsers(mpsc::Sender<(i64, User)>);

impl EventHandler for NewUsers {
    type Event = Inserted<User>;

    async fn handle(&self, user: Inserted<User>, _: Attempt) -> HandlerResult {
        self.0.send((user.key, user.row()?)).await?;
        Ok(())
    }
}

struct Orders {
    rows: mpsc::Sender<(String, i32)>,
    resyncs: mpsc::Sender<String>,
}

impl EventHandler for Orders {
    type Event = Changed<Order>;

    async fn handle(&self, order: Changed<Order>, _: Attempt) -> HandlerResult {
        self.rows.send(order.key).await?;
        Ok(())
    }

    async fn resync(&self, resync: Resync) -> HandlerResult {
        self.resyncs.send(resync.to_string()).await?;
        Ok(())
    }
}

#[actix::test]
async fn events_of_rows_arrive_typed_and_events_of_whole_tables_as_resyncs() {
    let url = database().await;
    let client = client(&url).await;
    client
        .batch_execute(
            "CREATE TABLE users (id bigint PRIMARY KEY, email text);
             CREATE TABLE orders (shop text, number int, PRIMARY KEY (shop, number))",
        )
        .await
        .unwrap();
    let herald = Herald::builder(config(&url))
        .watch_with(TriggerSpec::of::<User>().unwrap().columns(["email"]))
        .watch::<Order>()
        .unwrap()
        .install_triggers()
        .start()
        .await
        .unwrap();
    let (users, mut new_users) = mpsc::channel(64);
    herald
        .start_handler(EphemeralOptions::new("users"), move || {
            NewUsers(users.clone())
        })
        .await
        .unwrap();
    let (rows, mut order_rows) = mpsc::channel(64);
    let (resyncs, mut order_resyncs) = mpsc::channel(64);
    let orders = move || Orders {
        rows: rows.clone(),
        resyncs: resyncs.clone(),
    };
    herald
        .start_handler(EphemeralOptions::new("orders"), orders)
        .await
        .unwrap();
    herald.live().await.unwrap();

    client
        .batch_execute(
            "INSERT INTO users VALUES (1, 'a@x'); UPDATE users SET email = 'b@x'; DELETE FROM users;
             INSERT INTO orders VALUES ('eu', 7); TRUNCATE orders; INSERT INTO users VALUES (2, 'c@x')",
        )
        .await
        .unwrap();
    let user = |email: &str| User {
        email: email.to_owned(),
    };
    let mut next = async || {
        tokio::time::timeout(DEADLINE, new_users.recv())
            .await
            .unwrap()
            .unwrap()
    };
    assert_eq!(next().await, (1, user("a@x")));
    assert_eq!(next().await, (2, user("c@x")));
    let order = tokio::time::timeout(DEADLINE, order_rows.recv())
        .await
        .unwrap();
    assert_eq!(order, Some(("eu".to_owned(), 7)));
    assert_eq!(order_resyncs.recv().await.as_deref(), Some("started"));
    let whole_table = tokio::time::timeout(DEADLINE, order_resyncs.recv())
        .await
        .unwrap();
    assert_eq!(whole_table.as_deref(), Some("rows_unknown"));
    let report = herald.shutdown(Duration::from_secs(10)).await.unwrap();
    assert!(report.is_complete(), "{report}");
}

#[actix::test]
async fn an_event_whose_key_has_another_type_is_given_up_with_a_reason() {
    use pgherald::handler::GivenUp;
    struct Complaints(mpsc::Sender<String>);
    impl EventHandler for Complaints {
        type Event = Inserted<User>;
        async fn handle(&self, _: Inserted<User>, _: Attempt) -> HandlerResult {
            Ok(())
        }
        fn given_up(&self, task: &GivenUp) {
            assert_eq!(task.attempts, 1);
            self.0.try_send(task.failure.to_string()).unwrap();
        }
    }
    let (source, feed) = pgherald_testkit::fake_source();
    let listener = ListenerActor::new(source).start();
    let (sender, mut given_up) = mpsc::channel(1);
    let options = EphemeralOptions::new("typed");
    let handler = HandlerActor::new(options.clone(), move || Complaints(sender.clone())).start();
    listener
        .send(HandlerActor::subscription(&handler, &options))
        .await
        .unwrap()
        .unwrap();
    feed.live().await;
    let event = pgherald::Event::builder("public", "users", pgherald::Operation::Insert);
    feed.events([event.key("not a number").build()]).await;
    let reason = tokio::time::timeout(DEADLINE, given_up.recv())
        .await
        .unwrap()
        .unwrap();
    assert!(reason.contains("is not a i64"), "{reason}");
}
