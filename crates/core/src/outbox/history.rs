//! Which outbox a cursor belongs to, and what has become of its server.

use tokio_postgres::Client;

use crate::error::{Error, Kind, Result};
use crate::source::first_column;

/// As long as it is the same, a cursor can be read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct History(String);

impl History {
    /// That of the server's outbox. Fails if there is none.
    pub(crate) async fn of(client: &Client) -> Result<Self> {
        let rows = client.simple_query(include_str!("history.sql")).await;
        let rows =
            rows.map_err(|cause| Error::of_statement("cannot look for the outbox", cause))?;
        match first_column(&rows).next() {
            Some(history) => Ok(Self(history.to_owned())),
            None => Err(Error::new(
                Kind::Triggers,
                "the database has no outbox (pgherald.outbox); install the triggers of the watched tables",
            )),
        }
    }

    /// Fails if that of the server's outbox is another one.
    pub(crate) async fn confirm(&self, client: &Client) -> Result<()> {
        match Self::of(client).await? == *self {
            true => Ok(()),
            false => Err(Error::new(
                Kind::Disconnected,
                "the outbox is not the one that was read so far",
            )),
        }
    }
}
