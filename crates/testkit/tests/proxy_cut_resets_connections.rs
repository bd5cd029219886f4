//! `FaultProxy::cut` resets existing connections, and only these.

mod support;

use std::io::ErrorKind;

use pgherald_testkit::{FaultProxy, Postgres};
use tokio::io::AsyncReadExt as _;

#[tokio::test]
async fn cut_resets_existing_connections() {
    let (proxy, mut client, _server) = support::proxied_pair().await;
    proxy.cut();
    let error = support::soon(client.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    support::until("no connection left", || proxy.connections() == 0).await;
}

#[tokio::test]
async fn cut_does_not_affect_new_connections() {
    let server = Postgres::shared().await.unwrap();
    let proxy = FaultProxy::start((server.host(), server.port()))
        .await
        .unwrap();
    let url = proxy.url(&server.url());
    let (client, connection) = support::connect(&url).await;
    assert_eq!(support::answer(&client).await, 42);
    assert_eq!(proxy.connections(), 1);

    proxy.cut();
    assert!(support::soon(connection).await.unwrap().is_err());

    let (client, _connection) = support::connect(&url).await;
    assert_eq!(support::answer(&client).await, 42);
}

#[tokio::test]
async fn drop_of_the_proxy_resets_connections_and_closes_the_port() {
    let (proxy, mut client, _server) = support::proxied_pair().await;
    let addr = proxy.addr();
    drop(proxy);
    assert!(support::soon(client.read_u8()).await.is_err());
    // Retried, because another test may use the port meanwhile.
    let closed = async { while tokio::net::TcpStream::connect(addr).await.is_ok() {} };
    support::soon(closed).await;
}
