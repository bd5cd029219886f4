//! A rehearsal of the statements of consumers, as a health check.

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Client;

use super::destination::Condition;
use super::job::{Disposition, Park};
use super::options::DurableOptions;
use super::slices::Acknowledgement;
use super::store::{self, Claimed, Settlement, Which};
use crate::error::{Error, ErrorKind, Result};
use crate::outbox::{OutboxReader, Recorded, Statements};
use crate::trigger::require_version;

/// Runs the statements of consumers for a temporary group, in a transaction that it rolls back. It does not touch other groups.
/// Use it as a health check: a statement that would fail for a consumer fails here, for example because of a missing right, or of
/// a publication that makes the server refuse updates.
///
/// Must not be called inside a transaction. It takes some milliseconds. Meanwhile, a writer may have to wait if it still writes to
/// an earlier part of the outbox than the current one.
///
/// # Errors
/// If a statement fails, or the connection is lost.
pub async fn rehearse(client: &Arc<Client>) -> Result<()> {
    require_version(client).await?;
    let begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
    client.batch_execute(begin).await.map_err(store::failed)?;
    let run = run(client).await;
    let ended = client.batch_execute("ROLLBACK").await;
    run?;
    ended.map_err(store::failed)
}

async fn run(client: &Arc<Client>) -> Result<()> {
    let history = "SELECT pgherald.history()";
    execute(client, "read the history of the outbox", history).await?;
    // The settings of a consumer's connections. Names resolve to the server's objects only, whatever is on the search path.
    let settings =
        "SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL pgherald.acknowledging = 'on'";
    execute(client, "acknowledge", settings).await?;
    consume(client).await?;
    trim(client).await
}

async fn execute(client: &Client, what: &str, sql: &str) -> Result<()> {
    let failed = |cause| Error::of_statement(&format!("consumers cannot {what}"), cause);
    client.batch_execute(sql).await.map_err(failed)
}

/// Joins a group, claims its slice, reads, acknowledges, and settles an event.
async fn consume(client: &Arc<Client>) -> Result<()> {
    let number = fastrand::i64(1..);
    let options = DurableOptions::new(format!("pgherald rehearsal {number}")).slices(1);
    let group = &*options.group;
    let mut reader = OutboxReader::new(Arc::clone(client));
    store::open(client, &mut reader, &options).await?;
    store::join(client, &options, number).await?;
    store::renew(client, &options, number, &Condition::default()).await?;
    let claimed = store::claim(client, group, number, 1, &[]).await?;
    let Some(Claimed {
        slice,
        epoch,
        cursor,
        ..
    }) = claimed.into_iter().next()
    else {
        return Err(Error::new(
            ErrorKind::Query,
            "consumers cannot claim a slice",
        ));
    };
    store::group_state(client, group, number).await?;
    reader.next(&cursor, 1).await?;

    let statements = &mut Statements::default();
    let row = Recorded::resync(-2, slice, "rehearsal");
    let (relation, id) = (row.relation, row.id);
    let mut acknowledgement = Acknowledgement {
        slice,
        epoch,
        generation: 0,
        is_renewed: true,
        cursor,
        is_released: false,
        stored: None,
        parks: vec![Park {
            slice,
            // Not a resync, because the statement parks one only if rows were trimmed.
            row: Recorded {
                operation: b'T'.cast_signed(),
                ..row
            },
            attempts: 1,
            error: None,
            disposition: Disposition::Due(Duration::ZERO),
        }],
    };
    let written = store::acknowledge(&**client, statements, group, &[&acknowledgement]).await?;
    (acknowledgement.generation, acknowledgement.parks) = (1, Vec::new());
    let moved = store::acknowledge_one(&**client, statements, group, &acknowledgement).await?;
    let (rows, _) = store::parked_rows(client, group, &[id], &[slice]).await?;
    let is_parked = rows.iter().any(|parked| parked.row.relation == relation);
    if written != [slice] || !moved || !is_parked {
        return Err(Error::new(
            ErrorKind::Query,
            "consumers cannot acknowledge: the written cursor was not found afterwards; check triggers and rules on the tables of schema pgherald",
        ));
    }
    for which in [Which::All, Which::DueAtOnce] {
        store::parked_of(client, group, &[slice], which).await?;
    }
    let mut settlement = Settlement {
        slice,
        epoch,
        generation: 2,
        id,
        failed: Some((2, Some("rehearsal".to_owned()), Disposition::Dead)),
    };
    store::settle(client, statements, group, std::slice::from_ref(&settlement)).await?;
    settlement.failed = None;
    store::settle(client, statements, group, std::slice::from_ref(&settlement)).await?;
    store::leave(client, group, number).await?;
    store::remove_expired(client, group, &[]).await.map(drop)
}

async fn trim(client: &Client) -> Result<()> {
    // These limits neither empty a part nor begin a new one.
    let trim = "SELECT pgherald.trim_outbox('1000 years', 9223372036854775807)";
    execute(client, "trim the outbox", trim).await?;
    // Trimming writes to these with its owner's rights, and only when a part is closed.
    let rights = "SELECT pg_catalog.has_table_privilege('pgherald.outbox_retention', 'UPDATE')
        AND pg_catalog.has_table_privilege('pgherald.outbox_part', 'UPDATE')";
    let rights = client.query_one(rights, &[]).await.map_err(store::failed)?;
    if rights.try_get(0).unwrap_or(false) {
        let updates = "UPDATE pgherald.outbox_retention SET closed = closed; UPDATE pgherald.outbox_part SET closed = closed;
            DELETE FROM pgherald.outbox WHERE id OPERATOR(pg_catalog.<) 0";
        execute(client, "trim the outbox", updates).await?;
    }
    Ok(())
}
