//! `FaultProxy::delay` forwards each chunk late.

mod support;

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test]
async fn proxy_delays_each_chunk() {
    const DELAY: Duration = Duration::from_millis(100);
    let (proxy, mut client, mut server) = support::proxied_pair().await;
    proxy.delay(DELAY);

    let sent = Instant::now();
    client.write_all(b"late").await.unwrap();
    let mut buffer = [0; 4];
    support::soon(server.read_exact(&mut buffer)).await.unwrap();
    assert!(sent.elapsed() >= DELAY);
    assert_eq!(&buffer, b"late");
}

#[tokio::test]
async fn resume_forwards_delayed_chunks_at_once() {
    let (proxy, mut client, mut server) = support::proxied_pair().await;
    proxy.delay(Duration::from_secs(3600));
    client.write_all(b"late").await.unwrap();
    proxy.resume();
    let mut buffer = [0; 4];
    support::soon(server.read_exact(&mut buffer)).await.unwrap();
    assert_eq!(&buffer, b"late");
}
