//! What several benchmarks use, such as their baseline: a loop on a bare tokio-postgres connection.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

pub(crate) mod node;

use std::future::poll_fn;

use pgherald_testkit::Postgres;
use serde::Deserialize;
use tokio_postgres::{AsyncMessage, Client, NoTls};

/// The payload of pgherald's triggers for one row.
pub(crate) fn payload(key: usize) -> String {
    format!(
        "{{\"v\":1,\"operation\":\"update\",\"schema\":\"public\",\"table\":\"users\",\
         \"sent_at\":\"2026-01-02T03:04:05.678901+00:00\",\"xid\":{},\"key\":[\"id\"],\"keys\":[{key}]}}",
        7_000_000 + key
    )
}

/// The same payload, as a user would declare it for serde.
#[derive(Deserialize)]
pub(crate) struct Bare {
    pub(crate) v: u32,
    pub(crate) operation: String,
    pub(crate) schema: String,
    pub(crate) table: String,
    pub(crate) sent_at: String,
    pub(crate) xid: u64,
    pub(crate) key: Vec<String>,
    pub(crate) keys: Vec<i64>,
}

/// The same payload, with borrowed strings.
#[derive(Deserialize)]
pub(crate) struct BareBorrowed<'a> {
    pub(crate) v: u32,
    pub(crate) operation: &'a str,
    pub(crate) schema: &'a str,
    pub(crate) table: &'a str,
    pub(crate) sent_at: &'a str,
    pub(crate) xid: u64,
    #[serde(borrow)]
    pub(crate) key: Vec<&'a str>,
    pub(crate) keys: Vec<i64>,
}

pub(crate) type BareConnection =
    tokio_postgres::Connection<tokio_postgres::Socket, tokio_postgres::tls::NoTlsStream>;

/// A connection that only listens.
pub(crate) async fn listen(url: &str, channel: &str) -> (Client, BareConnection) {
    let (client, mut connection) = tokio_postgres::connect(url, NoTls).await.expect("connect");
    let sql = format!("LISTEN \"{channel}\"");
    {
        let listening = client.batch_execute(&sql);
        let mut listening = std::pin::pin!(listening);
        poll_fn(|cx| {
            while connection.poll_message(cx).is_ready() {}
            listening.as_mut().poll(cx)
        })
        .await
        .expect("LISTEN");
    }
    (client, connection)
}

/// The next notification.
pub(crate) async fn next(connection: &mut BareConnection) -> tokio_postgres::Notification {
    loop {
        match poll_fn(|cx| connection.poll_message(cx)).await {
            Some(Ok(AsyncMessage::Notification(notification))) => return notification,
            Some(Ok(_)) => {}
            other => panic!("the connection ended: {other:?}"),
        }
    }
}

/// A server with the settings of a small production server.
pub(crate) fn server() -> Postgres {
    Postgres::builder()
        .setting("shared_buffers", "256MB")
        .start_blocking()
        .expect("PostgreSQL")
}

/// The median.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
