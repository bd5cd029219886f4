//! Detects poolers that give a session another server process for each transaction.
//!
//! A LISTEN through such a pooler belongs to a server process that the pooler later gives to other clients, which then
//! receive the notifications. The pooler must be detected before a session changes any state. Comparing process ids is not
//! enough, because a pooler may give a client the same process twice in a row.
//!
//! The check opens a second connection to the same address, and has two steps:
//!
//! 1. Both connections query their process several times, in turn. Without a pooler, each session has its own process. If a
//!    process changes, or both have the same one, a pooler is detected. This step leaves no state behind.
//! 2. A pooler may give each connection the same process again by chance. So the second connection takes a lock that lasts as
//!    long as its session, and closes. A server, or a pooler that keeps sessions, ends the session and thereby the lock. A
//!    pooler in transaction mode has no sessions, so its server process keeps the lock. A pooler that discards the state of a
//!    session after each transaction releases a lock that the session still needs. So the check also verifies that a lock
//!    outlives its transaction.
//!
//! The second step alone would suffice. But the lock would remain in a server process of other clients if that process cannot
//! be reached again, or if the check is cancelled.
//!
//! Consumers also have connections for their leases and for attempts. With several hosts these may lead elsewhere, so each
//! endpoint is checked once. Their settings and prepared statements would reach other clients as well.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::hosts::Endpoint;
use super::{ConnectConfig, Connection, session};
use crate::error::{Error, ErrorKind, Result};

/// The first half of the lock's key. The second half is random, so that no other session holds the lock.
const MARK: i32 = 0x7067_6872;

/// How often both connections query their process.
const ROUNDS: usize = 4;

/// How long the server may take to notice that a connection has ended.
const PATIENCE: Duration = Duration::from_secs(3);

/// The endpoints without a pooler in transaction mode, according to the check. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Checked(Arc<Mutex<Vec<Endpoint>>>);

impl Checked {
    pub(super) fn has(&self, endpoint: &Endpoint) -> bool {
        self.0.lock().contains(endpoint)
    }

    fn add(&self, endpoint: &Endpoint) {
        let mut endpoints = self.0.lock();
        if !endpoints.contains(endpoint) {
            endpoints.push(endpoint.clone());
        }
    }

    /// Removes all endpoints, because a pooler may have been installed since.
    pub(super) fn forget(&self) {
        self.0.lock().clear();
    }
}

/// Fails if `client`'s connection to `endpoint` goes through a pooler in transaction mode. Otherwise adds the endpoint to the
/// checked ones.
pub(super) async fn refuse(
    config: &ConnectConfig,
    endpoint: &Endpoint,
    client: &Client,
    connection: &mut Connection,
) -> Result<()> {
    let (second, mut second_connection) = config.open_at(endpoint).await?;
    let found = share_processes(client, connection, &second, &mut second_connection).await?;
    if found {
        return Err(refusal());
    }
    let token = fastrand::i32(0..);
    let marked = session::drive(&mut second_connection, take_mark(&second, token)).await;
    drop(second);
    // Sends Terminate. An error means that the connection has ended already.
    let _ = second_connection.await;
    let process = marked?;
    let since = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        let query = mark(client, process, token);
        match session::drive(connection, query).await? {
            Mark::Gone => break,
            // This connection now has the process of the connection that has ended.
            Mark::Here => return Err(refusal()),
            Mark::Elsewhere if since.elapsed() > PATIENCE => return Err(refusal()),
            Mark::Elsewhere => {
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(100));
            }
        }
    }
    match session::drive(connection, keeps_a_mark(client, token)).await? {
        true => {
            config.checked.add(endpoint);
            Ok(())
        }
        false => Err(refusal()),
    }
}

fn refusal() -> Error {
    Error::new(
        ErrorKind::Pooler,
        "the connection leads to a pooler in transaction mode, which gives each transaction another server process: LISTEN \
         would fail, or its notifications would reach other clients",
    )
}

/// Returns whether two connections share a server process, or change their processes.
async fn share_processes(
    first: &Client,
    first_connection: &mut Connection,
    second: &Client,
    second_connection: &mut Connection,
) -> Result<bool> {
    let mut before = None;
    for _ in 0..ROUNDS {
        let own = session::drive(first_connection, process(first)).await?;
        let other = session::drive(second_connection, process(second)).await?;
        if own == other || *before.get_or_insert((own, other)) != (own, other) {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn process(client: &Client) -> Result<i32> {
    let sql = "SELECT pg_catalog.pg_backend_pid()";
    let rows = client.query_typed(sql, &[]).await.map_err(failed)?;
    let row = rows.first().ok_or_else(not_marked)?;
    row.try_get(0).map_err(failed)
}

/// Marks the server process by a lock, and returns the process.
async fn take_mark(client: &Client, token: i32) -> Result<i32> {
    let parameters: [(&(dyn ToSql + Sync), Type); 2] = [(&MARK, Type::INT4), (&token, Type::INT4)];
    let sql = include_str!("sql/mark.sql");
    let rows = client.query_typed(sql, &parameters).await.map_err(failed)?;
    let row = rows.first().ok_or_else(not_marked)?;
    match row.try_get(1).map_err(failed)? {
        true => row.try_get(0).map_err(failed),
        false => Err(not_marked()),
    }
}

/// Returns whether a lock outlives the transaction that took it.
async fn keeps_a_mark(client: &Client, token: i32) -> Result<bool> {
    take_mark(client, token).await?;
    let parameters: [(&(dyn ToSql + Sync), Type); 2] = [(&MARK, Type::INT4), (&token, Type::INT4)];
    let sql = "SELECT pg_catalog.pg_advisory_unlock_shared($1, $2)";
    let rows = client.query_typed(sql, &parameters).await.map_err(failed)?;
    let row = rows.first().ok_or_else(not_marked)?;
    row.try_get(0).map_err(failed)
}

enum Mark {
    Gone,
    Here,
    Elsewhere,
}

async fn mark(client: &Client, process: i32, token: i32) -> Result<Mark> {
    let parameters: [(&(dyn ToSql + Sync), Type); 3] = [
        (&MARK, Type::INT4),
        (&token, Type::INT4),
        (&process, Type::INT4),
    ];
    let sql = include_str!("sql/marked.sql");
    let rows = client.query_typed(sql, &parameters).await.map_err(failed)?;
    Ok(match rows.first() {
        None => Mark::Gone,
        Some(row) if row.try_get(0).map_err(failed)? => Mark::Here,
        Some(_) => Mark::Elsewhere,
    })
}

fn failed(cause: tokio_postgres::Error) -> Error {
    Error::of_statement("cannot check for a transaction pooler", cause)
}

fn not_marked() -> Error {
    Error::new(
        ErrorKind::Query,
        "cannot check for a transaction pooler: the probe connection did not get its advisory lock",
    )
}
