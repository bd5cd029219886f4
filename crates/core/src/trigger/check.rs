//! What a listener looks at again and again: whether triggers are in place, and whether they have been all
//! the time since it last looked; and whether DDL has changed rows meanwhile.

use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::inspect::{get, rows, split};
use super::spec::TriggerSpec;
use super::verify::{Drift, verify};
use crate::error::Result;
use crate::name::TableName;

/// The state of the triggers at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// What is not as specified.
    pub(crate) drifts: Vec<Drift>,
    /// One for each table.
    fingerprints: Vec<Fingerprint>,
}

/// What a table is made of, to compare with what it is made of later. It changes with what looks the same again, too.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fingerprint {
    table: TableName,
    /// Changes if a trigger was altered. One that was disabled and enabled again may have missed something.
    triggers: String,
    /// Changes if DDL may have changed rows, which fires no trigger.
    rows: String,
}

impl Check {
    /// The drifts that make changes go unheard.
    pub(crate) fn deaf(&self) -> impl Iterator<Item = &Drift> {
        self.drifts.iter().filter(|drift| drift.is_deaf())
    }

    /// Whether triggers of a table were altered since `before`.
    pub(crate) fn has_other_triggers(&self, before: &Self) -> bool {
        let now = self.fingerprints.iter().map(|one| &one.triggers);
        !now.eq(before.fingerprints.iter().map(|one| &one.triggers))
    }

    /// The tables whose rows DDL may have changed since `before`.
    pub(crate) fn altered(&self, before: &Self) -> impl Iterator<Item = &TableName> {
        let pairs = self.fingerprints.iter().zip(&before.fingerprints);
        let altered = pairs.filter(|(now, before)| now.rows != before.rows);
        altered.map(|(now, _)| &now.table)
    }
}

/// Looks at the triggers of `specs`, in a number of statements that does not depend on how many there are. Asks nothing if
/// there are none.
pub(crate) async fn check(client: &Client, specs: &[TriggerSpec]) -> Result<Check> {
    if specs.is_empty() {
        return Ok(Check {
            drifts: Vec::new(),
            fingerprints: Vec::new(),
        });
    }
    // First, so that an alteration in between shows at the next check rather than never.
    let fingerprints = fingerprints(client, specs).await?;
    let drifts = verify(client, specs).await?;
    Ok(Check {
        drifts,
        fingerprints,
    })
}

async fn fingerprints(client: &Client, specs: &[TriggerSpec]) -> Result<Vec<Fingerprint>> {
    let names: Vec<_> = specs.iter().map(TriggerSpec::table).collect();
    let (schemas, tables) = split(&names);
    let parameters: [(&(dyn ToSql + Sync), Type); 2] =
        [(&schemas, Type::TEXT_ARRAY), (&tables, Type::TEXT_ARRAY)];
    let sql = include_str!("sql/fingerprint.sql");
    let unknown = |spec: &TriggerSpec| Fingerprint {
        table: spec.table().clone(),
        triggers: String::new(),
        rows: String::new(),
    };
    let mut fingerprints: Vec<_> = specs.iter().map(unknown).collect();
    for row in &rows(client, sql, &parameters).await? {
        let place = usize::try_from(get::<i64>(row, 0)? - 1).unwrap_or(usize::MAX);
        if let Some(fingerprint) = fingerprints.get_mut(place) {
            fingerprint.triggers = get(row, 1)?;
            fingerprint.rows = get(row, 2)?;
        }
    }
    Ok(fingerprints)
}
