//! If a password is set, only connections with this password are accepted.

mod support;

use pgherald_testkit::Postgres;
use tokio_postgres::NoTls;

#[tokio::test]
async fn password_is_required() {
    let server = Postgres::builder()
        .password("s3cret/@ word")
        .start()
        .await
        .unwrap();
    let url = server.create_database().await.unwrap();

    let (client, _connection) = support::connect(&url).await;
    assert_eq!(support::answer(&client).await, 42);

    let (with, without) = (
        url.split_once("//").unwrap().1,
        format!(":{}", server.port()),
    );
    let wrong = format!(
        "postgresql://postgres:wrong@{}{without}/postgres",
        server.host()
    );
    assert!(with.contains('@'));
    assert!(tokio_postgres::connect(&wrong, NoTls).await.is_err());
}
