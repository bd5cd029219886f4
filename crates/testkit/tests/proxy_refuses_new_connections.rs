//! `FaultProxy::refuse` resets new connections and does not affect existing ones.

mod support;

use pgherald_testkit::{FaultProxy, Postgres};
use tokio_postgres::NoTls;

#[tokio::test]
async fn proxy_refuses_new_connections() {
    let server = Postgres::shared().await.unwrap();
    let proxy = FaultProxy::start((server.host(), server.port()))
        .await
        .unwrap();
    let url = proxy.url(&server.url());
    let (client, _connection) = support::connect(&url).await;

    proxy.refuse();
    assert!(
        support::soon(tokio_postgres::connect(&url, NoTls))
            .await
            .is_err()
    );
    assert_eq!(support::answer(&client).await, 42);

    proxy.resume();
    let (client, _connection) = support::connect(&url).await;
    assert_eq!(support::answer(&client).await, 42);
}
