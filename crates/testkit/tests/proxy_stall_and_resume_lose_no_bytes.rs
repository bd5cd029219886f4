//! `FaultProxy::stall` stops both directions, and loses or reorders no bytes.

mod support;

use pgherald_testkit::{FaultProxy, Postgres};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const LENGTH: usize = 8 * 1024 * 1024;

#[tokio::test]
async fn stall_and_resume_during_a_large_transfer_lose_no_bytes() {
    let (proxy, mut client, mut server) = support::proxied_pair().await;
    let sent: Vec<u8> = (0..LENGTH).map(|i| (i % 251) as u8).collect();
    let expected = sent.clone();
    let (stalled, is_stalled) = tokio::sync::oneshot::channel();
    let sending = tokio::spawn(async move {
        let (before, after) = sent.split_at(LENGTH / 2);
        client.write_all(before).await.unwrap();
        is_stalled.await.unwrap();
        client.write_all(after).await.unwrap();
        client.shutdown().await.unwrap();
        client
    });

    let mut received = vec![0; LENGTH / 4];
    support::soon(server.read_exact(&mut received))
        .await
        .unwrap();
    proxy.stall();
    // A part of the remaining bytes is in the proxy and in socket buffers. The other part is sent now.
    stalled.send(()).unwrap();
    assert_eq!(proxy.connections(), 1);
    proxy.resume();
    support::soon(server.read_to_end(&mut received))
        .await
        .unwrap();

    assert!(received == expected);
    drop(sending.await);
}

#[tokio::test]
async fn stall_forwards_nothing_until_resume() {
    let (proxy, mut client, mut server) = support::proxied_pair().await;
    proxy.stall();
    client.write_all(b"up").await.unwrap();
    server.write_all(b"N").await.unwrap();
    // Bytes that were forwarded on the loopback interface would have arrived before a new connection is established.
    let (_other, _, _) = support::proxied_pair().await;
    let mut buffer = [0; 8];
    assert!(server.try_read(&mut buffer).is_err());
    assert!(client.try_read(&mut buffer).is_err());

    proxy.resume();
    support::soon(server.read_exact(&mut buffer[..2]))
        .await
        .unwrap();
    assert_eq!(&buffer[..2], b"up");
    assert_eq!(support::soon(client.read_u8()).await.unwrap(), b'N');
}

#[tokio::test]
async fn connection_accepted_during_a_stall_is_served_after_resume() {
    let server = Postgres::shared().await.unwrap();
    let proxy = FaultProxy::start((server.host(), server.port()))
        .await
        .unwrap();
    let url = proxy.url(&server.url());
    proxy.stall();
    let connecting = tokio::spawn(async move { support::connect(&url).await });
    support::until("accepted", || proxy.connections() == 1).await;
    assert!(!connecting.is_finished());

    proxy.resume();
    let (client, _connection) = support::soon(connecting).await.unwrap();
    assert_eq!(support::answer(&client).await, 42);
}
