//! The settings of a consumer's sessions.

use tokio_postgres::Client;

use crate::error::{Error, Result};

/// Makes the server look cursors up by their key. There are few rows of cursors, so the planner would choose a sequential scan.
/// But they have many versions, which the scan would read too. Only for connections of the consumer.
const BY_INDEX: &str = "SET enable_seqscan = off; SET enable_hashjoin = off; \
    SET enable_mergejoin = off; SET enable_material = off; SET jit = off";

/// Sets up a connection of the consumer.
pub(super) async fn prepare(client: &Client) -> Result<()> {
    // In READ COMMITTED, a write that waited for a row lock checks its conditions again on the new version of the row.
    let sql = format!(
        "SET default_transaction_isolation = 'read committed'; SET pgherald.acknowledging = 'on'; {BY_INDEX}"
    );
    client
        .batch_execute(&sql)
        .await
        .map_err(|cause| Error::of_statement("cannot set up a connection of a consumer", cause))
}

/// Limits how long a statement waits for a lock, because the requests of other consumers wait behind it.
pub(super) async fn limit_locks(client: &Client) -> Result<()> {
    client
        .batch_execute("SET lock_timeout = '300ms'")
        .await
        .map_err(|cause| Error::of_statement("cannot set up a connection of a consumer", cause))
}
