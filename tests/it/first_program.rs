//! If a herald cannot become live, `start` returns an error with cause and hint, even without a subscriber to `tracing`.

use std::time::Duration;

use pgherald::{Backoff, Error, Herald, HeraldBuilder, Table};

use crate::support::{client, config, database};

const SOON: Duration = Duration::from_millis(500);

struct User;

impl Table for User {
    const NAME: &'static str = "users";
    const KEY: &'static [&'static str] = &["id"];
    type Key = i64;
}

async fn refused(url: &str) -> Error {
    let herald = Herald::builder(config(url))
        .watch::<User>()
        .unwrap()
        .live_within(SOON);
    herald.start().await.unwrap_err()
}

type Change = fn(HeraldBuilder) -> HeraldBuilder;

#[actix::test]
async fn times_of_0_are_refused_by_name_before_anything_starts() {
    const NO: Duration = Duration::ZERO;
    let cases: [(Change, &str); 6] = [
        (|herald| herald.live_within(NO), "live_within is 0"),
        (
            |herald| herald.poll_interval(NO),
            "the poll interval is 0ns",
        ),
        (
            |herald| herald.source(|source| source.heartbeat(NO, SOON)),
            "the heartbeat interval is 0ns",
        ),
        (
            |herald| herald.source(|source| source.heartbeat(SOON, NO)),
            "the heartbeat deadline is 0ns",
        ),
        (
            |herald| herald.source(|source| source.connect_timeout(NO)),
            "the connect timeout is 0ns",
        ),
        (
            |herald| herald.source(|source| source.backoff(Backoff::new(NO, NO))),
            "the longest backoff is 0ns",
        ),
    ];
    for (change, what) in cases {
        let herald = Herald::builder(config("postgresql://app@127.0.0.1:1/shop"));
        let error = change(herald).start().await.unwrap_err();
        assert!(error.is_config(), "{error:?}");
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[actix::test]
async fn an_unreachable_server_is_reported_with_a_hint() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = format!("postgresql://app@127.0.0.1:{port}/shop");
    let error = refused(&url).await;
    assert!(error.is_connection(), "{error:?}");
    // `main` prints this text.
    let message = format!("{error:?}");
    for part in [
        "not live after 500ms",
        "refused",
        "hint: check that the server runs",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    // A program that starts without waiting needs no server.
    let herald = Herald::builder(config(&url))
        .start_without_waiting()
        .await
        .unwrap();
    assert!(!herald.health().borrow().is_live());
}

#[actix::test]
async fn missing_triggers_are_reported_with_a_hint() {
    let url = database().await;
    let client = client(&url).await;
    client
        .batch_execute("CREATE TABLE users (id bigint PRIMARY KEY)")
        .await
        .unwrap();
    let message = format!("{:?}", refused(&url).await);
    assert!(
        message.contains("public.users")
            && message.contains("hint: install them: `pgherald install TABLE --commit`"),
        "{message}"
    );
    // Nothing of the herald is left running.
    let listening = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let begun = std::time::Instant::now();
    while client
        .query_one(listening, &[])
        .await
        .unwrap()
        .get::<_, i64>(0)
        > 0
    {
        assert!(begun.elapsed() < crate::support::DEADLINE);
    }
}

#[actix::test]
async fn a_database_that_does_not_exist_is_reported() {
    let url = format!("{}_missing", database().await);
    let message = format!("{:?}", refused(&url).await);
    assert!(message.contains("does not exist"), "{message}");
}

#[actix::test]
async fn a_herald_shows_the_sql_that_it_would_install() {
    let url = database().await;
    let client = client(&url).await;
    client
        .batch_execute("CREATE TABLE users (id bigint PRIMARY KEY)")
        .await
        .unwrap();
    let herald = || Herald::builder(config(&url)).watch::<User>().unwrap();
    let plan = herald().plan().await.unwrap();
    assert!(plan.sql().contains("pgherald_notify_insert"), "{plan}");
    refused(&url).await;
    client.batch_execute(&plan.sql()).await.unwrap();
    herald().start().await.unwrap();
    assert!(herald().plan().await.unwrap().is_empty());
}
