//! The consumers of groups, for the command and the live page.

use tokio_postgres::Client;

use crate::error::Result;
use crate::group::store::failed;
use crate::outbox::get;

/// A consumer of a group, as it is recorded in the database.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The group's name.
    pub group: String,
    /// The number of the consumer. It is never used again.
    pub id: i64,
    /// The consumer's description of itself.
    pub description: String,
    /// The remaining time of its lease. Negative if the lease has expired and no other consumer has deleted the node yet.
    pub lease_seconds: f64,
    /// The number of slices that it owns.
    pub slices: i64,
}

/// Returns the consumers of all groups, ordered by group.
///
/// # Errors
/// If there is no outbox, the role lacks a right, or the connection is lost.
pub async fn nodes(client: &Client) -> Result<Vec<Node>> {
    let rows = client.query(include_str!("../sql/nodes.sql"), &[]).await;
    let rows = rows.map_err(failed)?;
    let node = |row| {
        Ok(Node {
            group: get(row, "group_name")?,
            id: get(row, "id")?,
            description: get(row, "description")?,
            lease_seconds: get(row, "lease_seconds")?,
            slices: get(row, "slices")?,
        })
    };
    rows.iter().map(node).collect()
}
