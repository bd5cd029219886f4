//! What a listener looks at again and again: whether triggers are in place, and whether they have been all
//! the time since it last looked.

use tokio_postgres::Client;

use super::spec::TriggerSpec;
use super::verify::{Drift, verify};
use crate::error::{Error, Kind, Result};

/// The state of the triggers at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// What is not as specified.
    pub(crate) drifts: Vec<Drift>,
    /// Differs from that of an earlier check if any of pgherald's triggers was altered in between: one that
    /// was disabled and enabled again looks the same, but may have missed something.
    pub(crate) fingerprint: i64,
}

impl Check {
    /// The drifts that make changes go unheard.
    pub(crate) fn deaf(&self) -> impl Iterator<Item = &Drift> {
        self.drifts.iter().filter(|drift| drift.is_deaf())
    }
}

/// Looks at the triggers of `specs`. Asks nothing if there are none.
pub(crate) async fn check(client: &Client, specs: &[TriggerSpec]) -> Result<Check> {
    if specs.is_empty() {
        return Ok(Check {
            drifts: Vec::new(),
            fingerprint: 0,
        });
    }
    // First, so that an alteration in between shows at the next check rather than never.
    let sql = include_str!("sql/catalog/fingerprint.sql");
    let row = client.query_one(sql, &[]).await.map_err(|cause| {
        Error::with_source(Kind::Query, "the catalog of triggers cannot be read", cause)
    })?;
    let drifts = verify(client, specs).await?;
    Ok(Check {
        drifts,
        fingerprint: row.get(0),
    })
}
