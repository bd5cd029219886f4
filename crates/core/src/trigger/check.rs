//! The check that a listener makes at each heartbeat: whether the triggers are in place, whether they have been in place since
//! the last check, and whether DDL has changed rows meanwhile.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::inspect::split;
use super::query::{get, rows};
use super::spec::TriggerSpec;
use super::verify::{Drift, verify};
use crate::error::{Error, ErrorKind, Result};
use crate::name::TableName;

/// After this many checks that found an unchanged fingerprint, the next one inspects everything. A fingerprint covers neither
/// data (the rows of `pgherald.outbox_relation`) nor the rights of roles.
const MAX_SHORT_CHECKS: u32 = 20;

/// The state of the triggers at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// The differences from the specifications.
    pub(crate) drifts: Vec<Drift>,
    fingerprint: Fingerprint,
}

/// Identifies the structure of tables and triggers. It also changes if something was altered and altered back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Fingerprint {
    tables: Vec<TablePrint>,
    /// Changes with the objects that all tables share.
    shared: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct TablePrint {
    table: TableName,
    /// Changes if a trigger was altered. A trigger that was disabled and enabled again may have missed changes.
    triggers: String,
    /// Changes if DDL may have changed rows, which fires no trigger.
    rows: String,
    /// Changes with comments and the primary key.
    rest: String,
}

impl Check {
    /// The drifts that lose changes.
    pub(crate) fn losing(&self) -> impl Iterator<Item = &Drift> {
        self.drifts.iter().filter(|drift| drift.loses_changes())
    }

    /// The drifts that lose changes, as an error. `None` if there are none.
    pub(crate) fn lost_changes(&self) -> Option<Error> {
        let list: Vec<String> = self.losing().map(ToString::to_string).collect();
        (!list.is_empty()).then(|| Error::new(ErrorKind::Triggers, list.join("; ")))
    }

    /// For each table, a number for its triggers and one for the structure of its rows.
    pub(crate) fn fingerprints(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.fingerprint.tables.iter();
        all.map(|one| (&*one.triggers, &*one.rows))
    }

    /// Whether triggers of a table were altered since `before`, and lose nothing now. Others count as repaired later.
    pub(crate) fn has_other_triggers(&self, before: &Self) -> bool {
        let before = before.fingerprint.tables.iter();
        let mut pairs = self.fingerprint.tables.iter().zip(before);
        pairs.any(|(now, before)| {
            let loses = || self.losing().any(|drift| drift.table == now.table);
            now.triggers != before.triggers && !loses()
        })
    }

    /// The tables whose rows DDL may have changed since `before`.
    pub(crate) fn altered(&self, before: &Self) -> impl Iterator<Item = &TableName> {
        let before = before.fingerprint.tables.iter();
        let pairs = self.fingerprint.tables.iter().zip(before);
        let altered = pairs.filter(|(now, before)| now.rows != before.rows);
        altered.map(|(now, _)| &now.table)
    }
}

/// Checks the triggers of some specifications repeatedly.
#[derive(Debug)]
pub(crate) struct Checker {
    specs: Arc<[TriggerSpec]>,
    /// The last check, and the number of short checks since everything was inspected.
    last: Mutex<Option<(Check, u32)>>,
}

impl Checker {
    pub(crate) fn new(specs: &[TriggerSpec]) -> Self {
        Self {
            specs: specs.into(),
            last: Mutex::default(),
        }
    }

    pub(crate) fn specs(&self) -> &[TriggerSpec] {
        &self.specs
    }

    /// Checks the triggers: in one statement while the fingerprint stays the same, otherwise in a number of statements that
    /// does not depend on the number of tables. Runs no statement if there are no tables.
    pub(crate) async fn check(&self, client: &Client) -> Result<Check> {
        let fingerprint = match self.specs.is_empty() {
            true => Fingerprint::default(),
            // Read before `verify`: an alteration in between then differs from the fingerprint of the next check.
            false => fingerprint(client, &self.specs).await?,
        };
        let last = self.lock().take();
        let (check, short_checks) = match last {
            Some((last, count)) if last.fingerprint == fingerprint && count < MAX_SHORT_CHECKS => {
                (last, count + 1)
            }
            _ => {
                let drifts = match self.specs.is_empty() {
                    true => Vec::new(),
                    false => verify(client, &self.specs).await?,
                };
                let check = Check {
                    drifts,
                    fingerprint,
                };
                (check, 0)
            }
        };
        *self.lock() = Some((check.clone(), short_checks));
        Ok(check)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Check, u32)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn fingerprint(client: &Client, specs: &[TriggerSpec]) -> Result<Fingerprint> {
    let names: Vec<_> = specs.iter().map(TriggerSpec::table).collect();
    let (schemas, tables) = split(&names);
    let parameters: [(&(dyn ToSql + Sync), Type); 2] =
        [(&schemas, Type::TEXT_ARRAY), (&tables, Type::TEXT_ARRAY)];
    let sql = include_str!("sql/fingerprint.sql");
    let unknown = |spec: &TriggerSpec| TablePrint {
        table: spec.table().clone(),
        triggers: String::new(),
        rows: String::new(),
        rest: String::new(),
    };
    let mut fingerprint = Fingerprint {
        tables: specs.iter().map(unknown).collect(),
        shared: String::new(),
    };
    for row in &rows(client, sql, &parameters).await? {
        let place: i64 = get(row, 0)?;
        if place == 0 {
            fingerprint.shared = get(row, 3)?;
        }
        let place = usize::try_from(place - 1).unwrap_or(usize::MAX);
        if let Some(table) = fingerprint.tables.get_mut(place) {
            table.triggers = get(row, 1)?;
            table.rows = get(row, 2)?;
            table.rest = get(row, 3)?;
        }
    }
    Ok(fingerprint)
}
