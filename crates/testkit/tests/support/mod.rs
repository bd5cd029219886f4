//! Helpers that wait and connect, for the tests of this crate.
#![allow(dead_code, reason = "each test file uses its own part of this")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests stop at once"
)]

use std::time::Duration;

use pgherald_testkit::{FaultProxy, Postgres};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Waits until the condition holds. Panics after [`LIMIT`].
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let polled = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, polled)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// Waits for a future. Panics after [`LIMIT`].
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future)
        .await
        .expect("not in time")
}

pub(crate) type Connection = JoinHandle<Result<(), tokio_postgres::Error>>;

pub(crate) async fn connect(url: &str) -> (Client, Connection) {
    let (client, connection) = soon(tokio_postgres::connect(url, NoTls)).await.unwrap();
    (client, tokio::spawn(connection))
}

pub(crate) async fn answer(client: &Client) -> i32 {
    soon(client.query_one("select 42", &[]))
        .await
        .unwrap()
        .get(0)
}

/// Returns whether a process runs. A zombie does not.
pub(crate) fn is_alive(pid: u32) -> bool {
    let output = std::process::Command::new("ps")
        .args(["-o", "stat=", "-p", &pid.to_string()])
        .output();
    let state = output.unwrap().stdout;
    state.first().is_some_and(|&state| state != b'Z')
}

pub(crate) fn postmaster_pid(server: &Postgres) -> u32 {
    let file = std::fs::read_to_string(server.data_dir().join("postmaster.pid")).unwrap();
    file.lines().next().unwrap().parse().unwrap()
}

/// Returns a proxy with a client and a server socket, without PostgreSQL.
pub(crate) async fn proxied_pair() -> (FaultProxy, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = FaultProxy::start(listener.local_addr().unwrap())
        .await
        .unwrap();
    let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
    let (mut server, _) = soon(listener.accept()).await.unwrap();
    // In PostgreSQL's protocol, this declines encryption. It does not end the startup.
    server.write_all(b"N").await.unwrap();
    assert_eq!(soon(client.read_u8()).await.unwrap(), b'N');
    (proxy, client, server)
}
