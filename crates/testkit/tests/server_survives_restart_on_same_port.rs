//! A stopped or killed server starts again on the same port with the same data.

#![allow(clippy::unwrap_used, reason = "tests stop at once")]

mod support;

use pgherald_testkit::Postgres;

#[tokio::test]
async fn server_survives_restart_on_same_port() {
    let server = Postgres::start().await.unwrap();
    let url = server.create_database().await.unwrap();
    server
        .batch(
            &url,
            "create table city (name text); insert into city values ('Bonn')",
        )
        .await
        .unwrap();

    server.restart().await.unwrap();
    assert_eq!(cities(&url).await, 1);

    server.stop().await.unwrap();
    assert!(!server.is_running().await);
    assert!(server.execute("select 1").await.is_err());
    server.start_again().await.unwrap();
    assert_eq!(cities(&url).await, 1);

    server.kill().await.unwrap();
    assert!(!server.is_running().await);
    server.start_again().await.unwrap();
    assert_eq!(cities(&url).await, 1);
}

async fn cities(url: &str) -> i64 {
    let (client, _connection) = support::connect(url).await;
    client
        .query_one("select count(*) from city", &[])
        .await
        .unwrap()
        .get(0)
}
