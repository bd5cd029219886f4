//! Short-lived connections for the test kit's own statements.
//!
//! They run on a runtime of their own: the caller's may have its clock paused, which would let the
//! time limit strike at once.

use std::time::Duration;

use tokio_postgres::{Client, Config, NoTls};

use crate::Error;

/// Told apart from the clients under test by this.
pub(super) const APPLICATION_NAME: &str = "pgherald-testkit";

const LIMIT: Duration = Duration::from_secs(30);

/// Connects, runs `work`, disconnects. Blocks.
pub(super) fn run<T>(
    url: &str,
    work: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
) -> Result<T, Error> {
    let mut config: Config = url
        .parse()
        .map_err(Error::during(format!("not the URL of a database: {url}")))?;
    config.application_name(APPLICATION_NAME);

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::during("cannot build a runtime"))?;
    let session = async {
        let (client, connection) = config.connect(NoTls).await?;
        // Ends with the runtime at the latest. Its error, if any, is also that of the statement.
        let connection = tokio::spawn(connection);
        let result = work(&client).await;
        // Disconnects in good order: the server's log is for the tests' own trouble.
        drop(client);
        let _ = connection.await;
        result
    };
    match runtime.block_on(async { tokio::time::timeout(LIMIT, session).await }) {
        Ok(result) => result.map_err(Error::during("a statement of the test kit failed")),
        Err(_) => Err(Error::new(format!(
            "no answer from the server within {LIMIT:?}"
        ))),
    }
}
