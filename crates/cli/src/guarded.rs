//! Read-only transactions in which names resolve to the server's own objects.
//!
//! Otherwise a role that may create functions and operators in a schema of the caller's `search_path` could have its own
//! functions called with the caller's rights. The `search_path` is set for the transaction, not for the session: a pooler
//! may give the session to another client.

use std::time::Duration;

use tokio_postgres::Client;

use crate::failure::Failure;

/// Each query runs once, so compiling it takes longer than running it.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY;
    SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL jit = off;";

/// Runs `queries`, which read through `client`, in such a transaction.
pub(crate) async fn guarded<T>(
    client: &Client,
    queries: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    client.batch_execute(BEGIN).await?;
    rolled_back(client, queries).await
}

/// Like [`guarded`], but fails after `limit`.
pub(crate) async fn guarded_within<T>(
    client: &Client,
    limit: Duration,
    queries: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    // Without this, the server would continue a query after this function gave up. A shorter statement_timeout stays.
    let server_limit = limit + Duration::from_secs(1);
    let sql = format!(
        "{BEGIN} SELECT set_config('statement_timeout', least(nullif(setting::int8, 0), {})::text, true)
            FROM pg_settings WHERE name = 'statement_timeout'",
        server_limit.as_millis()
    );
    let late = |_| Failure::problem(format!("no answer within {limit:?}"));
    let within = async {
        tokio::time::timeout(limit, queries)
            .await
            .map_err(late)
            .flatten()
    };
    client.batch_execute(&sql).await?;
    rolled_back(client, within).await
}

/// Runs `queries` and ends the transaction, even if they fail, so that the connection can be used again.
async fn rolled_back<T>(
    client: &Client,
    queries: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let found = queries.await;
    let ended = client.batch_execute("ROLLBACK").await;
    let found = found?;
    ended?;
    Ok(found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at once")]
mod tests {
    use std::time::Duration;

    use pgherald_testkit::Postgres;

    use super::{guarded, guarded_within};
    use crate::database::Database;
    use crate::failure::Failure;

    async fn text(client: &tokio_postgres::Client, sql: &str) -> Result<String, Failure> {
        let rows = client.query_typed(sql, &[]).await?;
        Ok(rows[0].try_get(0)?)
    }

    #[tokio::test]
    async fn a_query_beyond_the_limit_is_cancelled_and_the_connection_stays_usable() {
        let server = Postgres::shared().await.unwrap();
        let database = Database::new(Some(server.url()));
        let client = &database.client().await.unwrap();
        let limit = Duration::from_millis(300);
        let long = text(client, "SELECT pg_catalog.pg_sleep(600)::pg_catalog.text");
        let Err(Failure::Reported { message, .. }) = guarded_within(client, limit, long).await
        else {
            unreachable!("it is ten minutes long");
        };
        assert_eq!(message, "no answer within 300ms");
        let failed = guarded(client, text(client, "SELECT 1 / 0")).await;
        assert!(failed.is_err());
        let path = "SELECT pg_catalog.current_setting('search_path')";
        let limits = "SELECT pg_catalog.current_setting('statement_timeout')";
        let begun = std::time::Instant::now();
        for (sql, inside, outside) in [
            (path, "pg_catalog, pg_temp", "\"$user\", public"),
            (limits, "1300ms", "0"),
        ] {
            let found = guarded_within(client, limit, text(client, sql)).await;
            assert_eq!(found.unwrap(), inside);
            assert_eq!(text(client, sql).await.unwrap(), outside);
        }
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}
