//! Short-lived connections for the test kit's own statements.
//!
//! They run on a separate runtime: if the caller's clock is paused, the time limit would expire at once.

use std::time::Duration;

use tokio_postgres::{Client, Config, NoTls};

use crate::Error;

/// Distinguishes these connections from the clients under test.
pub(super) const APPLICATION_NAME: &str = "pgherald-testkit";

const LIMIT: Duration = Duration::from_secs(30);

/// Connects, runs `work` and disconnects. Blocks.
pub(super) fn run<T>(
    url: &str,
    work: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
) -> Result<T, Error> {
    let mut config: Config = url
        .parse()
        .map_err(Error::during(format!("invalid URL of a database: {url}")))?;
    config.application_name(APPLICATION_NAME);

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::during("cannot build a runtime"))?;
    let session = async {
        let (client, connection) = config.connect(NoTls).await?;
        // The statement returns the connection's error, if there is one.
        let connection = tokio::spawn(connection);
        let result = work(&client).await;
        // Terminate the session properly, so that the server does not log a lost connection.
        drop(client);
        let _ = connection.await;
        result
    };
    match runtime.block_on(async { tokio::time::timeout(LIMIT, session).await }) {
        Ok(result) => result.map_err(Error::during("a statement of the test kit failed")),
        Err(_) => Err(Error::new(format!(
            "the server did not answer within {LIMIT:?}"
        ))),
    }
}
