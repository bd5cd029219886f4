//! A server built with `Builder::tls` accepts TLS connections.

mod support;

use pgherald_testkit::Postgres;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test]
async fn tls_is_on_and_offered() {
    let server = Postgres::builder().tls().start().await.unwrap();
    let authority = std::fs::read_to_string(server.ca_certificate().unwrap()).unwrap();
    assert!(authority.starts_with("-----BEGIN CERTIFICATE-----"));

    let (client, _connection) = support::connect(&server.url()).await;
    let ssl: String = client.query_one("show ssl", &[]).await.unwrap().get(0);
    assert_eq!(ssl, "on");

    // An SSLRequest. The answer `S` accepts it.
    let mut socket = tokio::net::TcpStream::connect((server.host(), server.port()))
        .await
        .unwrap();
    socket
        .write_all(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f])
        .await
        .unwrap();
    assert_eq!(support::soon(socket.read_u8()).await.unwrap(), b'S');
}
