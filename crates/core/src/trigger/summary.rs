//! Summarises the changes that a plan makes to each table.

use std::collections::BTreeSet;

use super::actual::{Actual, Requirement};
use super::compare::{Finding, compare};
use super::desired::desired;
use super::spec::TriggerSpec;
use super::template::qualified;
use crate::error::Result;
use crate::name::TableName;

/// The changes that a [plan](Actual::plan) makes to one table. Objects are named with their kind, such as
/// `trigger pgherald_notify_insert on public.users`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableChange {
    /// The watched table.
    pub table: TableName,
    /// Triggers and functions that are created.
    pub added: Vec<String>,
    /// Triggers and functions that are created again or enabled, or whose comment is written again.
    pub replaced: Vec<String>,
    /// Triggers and functions that are dropped.
    pub removed: Vec<String>,
    /// Triggers and functions that stay as they are.
    pub kept: Vec<String>,
    /// The tables whose triggers change: the table, its partitions and children. They are locked until the plan commits, and
    /// writers wait.
    pub locked: Vec<TableName>,
    /// Whether these locks also wait for readers, and block them, as those of DROP TRIGGER do.
    pub locks_readers: bool,
    /// Whether triggers or the code of their function change. If so, each group that requires the table, and has seen its
    /// triggers before, gets one resync.
    pub causes_resync: bool,
    /// The requirements that the installation no longer covers, and what each of them lacks. The consumers of these groups will
    /// not be live.
    pub unmet: Vec<(Requirement, Vec<String>)>,
}

impl TableChange {
    /// Returns whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.replaced.is_empty() && self.removed.is_empty()
    }
}

impl Actual {
    /// Returns the changes that [`plan`](Self::plan) makes to the table of each specification. Objects that all tables share are
    /// not listed.
    ///
    /// # Errors
    /// As for [`plan`](Self::plan), if a specification does not fit its table.
    pub fn summary(&self, specs: &[TriggerSpec]) -> Result<Vec<TableChange>> {
        specs.iter().map(|spec| self.table_change(spec)).collect()
    }

    fn table_change(&self, spec: &TriggerSpec) -> Result<TableChange> {
        /// The first server with `CREATE OR REPLACE TRIGGER`. Older servers drop the trigger first.
        const REPLACES_TRIGGERS: i32 = 140_000;
        let (valid, installed) = self.validate(spec)?;
        let desired = desired(&valid)?;
        let drops = self.server.version < REPLACES_TRIGGERS;
        let trigger = |name: &str, on: &TableName| format!("trigger {name} on {on}");
        let function = |name: &str| format!("function {}()", qualified(name));
        let own = desired.triggers.iter();
        let mut kept: BTreeSet<_> = own.map(|one| trigger(&one.name, &one.on)).collect();
        kept.insert(function(&desired.function));
        let mut change = TableChange {
            table: spec.table.clone(),
            added: Vec::new(),
            replaced: Vec::new(),
            removed: Vec::new(),
            kept: Vec::new(),
            locked: Vec::new(),
            locks_readers: false,
            causes_resync: false,
            unmet: self.unmet_by(spec),
        };
        let mut locked = BTreeSet::new();
        for finding in compare(&desired, &installed) {
            change.causes_resync |= !matches!(
                finding,
                Finding::NoteMoved
                    | Finding::FunctionOutdated {
                        redefine: false,
                        ..
                    }
            );
            let (list, object) = match finding {
                Finding::FunctionMissing => (&mut change.added, function(&desired.function)),
                Finding::FunctionOutdated { .. } | Finding::NoteMoved => {
                    (&mut change.replaced, function(&desired.function))
                }
                Finding::TriggerMissing(one) => {
                    locked.insert(&one.on);
                    change.locks_readers |= drops;
                    (&mut change.added, trigger(&one.name, &one.on))
                }
                Finding::TriggerAltered { trigger: one, .. } => {
                    locked.insert(&one.on);
                    change.locks_readers |= drops;
                    (&mut change.replaced, trigger(&one.name, &one.on))
                }
                Finding::TriggerDisabled(one) => {
                    locked.insert(&one.on);
                    (&mut change.replaced, trigger(&one.name, &one.on))
                }
                Finding::TriggerLeftOver(one) => {
                    locked.insert(&one.on.0);
                    change.locks_readers = true;
                    (&mut change.removed, trigger(&one.name, &one.on.0))
                }
                Finding::FunctionLeftOver(name) => (&mut change.removed, function(name)),
            };
            kept.remove(&object);
            list.push(object);
        }
        change.kept = kept.into_iter().collect();
        change.locked = locked.into_iter().cloned().collect();
        Ok(change)
    }
}
