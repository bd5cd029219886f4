//! The requirements of a group on its tables: stored with the group, and compared with what is installed.
//!
//! ```text
//!   open ── record ──► covered? ── no ──► the session ends: nothing more is read
//!             │            └─ yes ─► the group is live
//!   every ten seconds, or once per lease if that is shorter: the same again
//! ```
//!
//! The group stores, for each table, the requirements of its handlers, a fingerprint of the triggers, and a fingerprint of the
//! structure of rows. A consumer that finds another fingerprint than the stored one replaces it, and parks one resync in the
//! same statement: changes may have gone unrecorded, or DDL may have changed rows. So one consumer parks the resync even if
//! several detect the change, and even if no consumer ran at that time.

use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use super::store;
use crate::error::{Error, ErrorKind, Result};
use crate::name::TableName;
use crate::outbox::get;
use crate::trigger::{Checker, TriggerSpec};

/// Replaces the stored requirements of the group. A consumer that declares none keeps the stored ones.
pub(super) async fn store(client: &Client, group: &str, specs: &[TriggerSpec]) -> Result<()> {
    if specs.is_empty() {
        return Ok(());
    }
    let texts = specs.iter().map(serde_json::to_string);
    let texts: Vec<String> = texts.collect::<Result<_, _>>().map_err(|cause| {
        Error::with_source(
            ErrorKind::Config,
            "a requirement cannot be written as JSON",
            cause,
        )
    })?;
    let (schemas, tables) = names(specs);
    let parameters: [&(dyn ToSql + Sync); 4] = [&group, &schemas, &tables, &texts];
    let sql = include_str!("sql/require.sql");
    store::execute(client, sql, &parameters).await.map(drop)
}

/// Fails if less is installed than the checked specifications require. Otherwise parks a resync if triggers were altered or DDL
/// may have changed rows since the last check by a consumer of the group. Returns whether it parked one.
pub(super) async fn confirm(client: &Client, group: &str, checker: &Checker) -> Result<bool> {
    if checker.specs().is_empty() {
        return Ok(false);
    }
    let found = checker.check(client).await?;
    if let Some(error) = found.lost_changes() {
        let tables = found.losing().map(|drift| &drift.table);
        let (schemas, tables): (Vec<&str>, Vec<&str>) = split(tables);
        let parameters: [&(dyn ToSql + Sync); 3] = [&group, &schemas, &tables];
        store::execute(client, include_str!("sql/unmet.sql"), &parameters).await?;
        return Err(error);
    }
    let (schemas, tables) = names(checker.specs());
    let (triggers, rows): (Vec<&str>, Vec<&str>) = found.fingerprints().unzip();
    let parameters: [&(dyn ToSql + Sync); 5] = [&group, &schemas, &tables, &triggers, &rows];
    let sql = include_str!("sql/fingerprint.sql");
    let gaps = store::query(client, sql, &parameters).await?;
    for row in &gaps {
        let (table, reason): (String, String) = (get(row, "table_name")?, get(row, "reason")?);
        tracing::warn!(
            group,
            table,
            reason,
            "changes may be missing: the group resyncs"
        );
    }
    Ok(!gaps.is_empty())
}

fn names(specs: &[TriggerSpec]) -> (Vec<&str>, Vec<&str>) {
    split(specs.iter().map(TriggerSpec::table))
}

/// Returns the schemas and the names of tables, as parameters of a statement.
fn split<'a>(tables: impl Iterator<Item = &'a TableName>) -> (Vec<&'a str>, Vec<&'a str>) {
    tables.map(|table| (table.schema(), table.name())).unzip()
}
