//! Transactions that only read, and in which names are the server's own.
//!
//! A role that may create functions and operators in a schema of the caller's `search_path` could else have its own called
//! instead, with the caller's rights. It is set for the transaction, not the session, which a pooler would hand on to others.

use std::time::Duration;

use tokio_postgres::Client;

use crate::failure::Failure;

/// Each query runs once, so compiling it takes longer than running it.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY;
    SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL jit = off;";

/// Runs `looking`, which asks `client` and changes nothing.
pub(crate) async fn guarded<T>(
    client: &Client,
    looking: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    client.batch_execute(BEGIN).await?;
    rolled_back(client, looking).await
}

/// The same, for as long as `limit`.
pub(crate) async fn guarded_within<T>(
    client: &Client,
    limit: Duration,
    looking: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    // The server ends what nobody waits for any more. A limit of the caller's that is shorter stays.
    let servers = limit + Duration::from_secs(1);
    let sql = format!(
        "{BEGIN} SELECT set_config('statement_timeout', least(nullif(setting::int8, 0), {})::text, true)
            FROM pg_settings WHERE name = 'statement_timeout'",
        servers.as_millis()
    );
    let late = |_| Failure::problem(format!("no answer within {limit:?}"));
    let within = async {
        tokio::time::timeout(limit, looking)
            .await
            .map_err(late)
            .flatten()
    };
    client.batch_execute(&sql).await?;
    rolled_back(client, within).await
}

/// Also where `looking` has failed: what comes later begins anew.
async fn rolled_back<T>(
    client: &Client,
    looking: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let found = looking.await;
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

    async fn asked(client: &tokio_postgres::Client, sql: &str) -> Result<String, Failure> {
        let rows = client.query_typed(sql, &[]).await?;
        Ok(rows[0].try_get(0)?)
    }

    #[tokio::test]
    async fn what_takes_too_long_keeps_nothing_else_waiting() {
        let server = Postgres::shared().await.unwrap();
        let database = Database::new(Some(server.url()));
        let client = &database.client().await.unwrap();
        let limit = Duration::from_millis(300);
        let long = asked(client, "SELECT pg_catalog.pg_sleep(600)::pg_catalog.text");
        let Err(Failure::Told { message, .. }) = guarded_within(client, limit, long).await else {
            unreachable!("it is ten minutes long");
        };
        assert_eq!(message, "no answer within 300ms");
        let failed = guarded(client, asked(client, "SELECT 1 / 0")).await;
        assert!(failed.is_err());
        let path = "SELECT pg_catalog.current_setting('search_path')";
        let limits = "SELECT pg_catalog.current_setting('statement_timeout')";
        let begun = std::time::Instant::now();
        for (sql, inside, outside) in [
            (path, "pg_catalog, pg_temp", "\"$user\", public"),
            (limits, "1300ms", "0"),
        ] {
            let found = guarded_within(client, limit, asked(client, sql)).await;
            assert_eq!(found.unwrap(), inside);
            assert_eq!(asked(client, sql).await.unwrap(), outside);
        }
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}
