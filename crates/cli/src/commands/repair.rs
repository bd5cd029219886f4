//! Decides which repair an installation needs. `doctor` reports the repair, and `upgrade` carries it out.

use std::collections::BTreeSet;

use pgherald_core::__private::host::trigger::{Actual, SpecParts, Watched};
use pgherald_core::TableName;
use pgherald_core::trigger::TriggerSpec;

use super::plan::refusal;

/// The repair that one installation needs.
#[derive(Debug)]
pub(super) enum Repair {
    /// Its comment does not contain its specification.
    Unreadable,
    /// Nothing: no table calls its function, and another watched table has the name in its specification.
    None,
    /// Install it again on the table in its specification. That table may have been dropped.
    Same(TriggerSpec),
    /// Install it again under the present name of its table.
    Renamed(Box<Renamed>),
}

/// A table that was renamed.
#[derive(Debug)]
pub(super) struct Renamed {
    pub(super) former: TableName,
    /// The installed specification under the present name, without columns that are gone.
    pub(super) spec: TriggerSpec,
    /// Columns of the specification that are gone.
    pub(super) lost: Vec<String>,
    /// Why it cannot be installed, if it cannot.
    pub(super) refusal: Option<String>,
    /// The specification for the unwatched table that has the former name now, if there is one; or why it cannot be installed.
    pub(super) successor: Option<Result<TriggerSpec, String>>,
}

impl Renamed {
    /// Describes the columns that are gone, if there are any.
    pub(super) fn loss(&self) -> Option<String> {
        let lost = self.lost.join(", ");
        (!lost.is_empty()).then(|| format!("can no longer be installed with {lost}"))
    }
}

/// Returns the repair that `one` of `watched` needs. `watched` lists everything installed.
pub(super) fn repair(actual: &Actual, watched: &[Watched], one: &Watched) -> Repair {
    let Some(installed) = &one.spec else {
        return Repair::Unreadable;
    };
    let former = installed.table();
    let is_watched = |name: &TableName| watched.iter().any(|it| it.table.as_ref() == Some(name));
    match &one.table {
        None if is_watched(former) => Repair::None,
        Some(now) if now != former => {
            let spec = installed.clone().for_table(now.clone());
            let before = named(&spec);
            // The table was inspected together with its installation.
            let spec = actual.trimmed(spec.clone()).unwrap_or(spec);
            Repair::Renamed(Box::new(Renamed {
                former: former.clone(),
                lost: before.difference(&named(&spec)).cloned().collect(),
                refusal: refusal(actual, &spec),
                successor: successor(actual, watched, installed),
                spec,
            }))
        }
        _ => Repair::Same(installed.clone()),
    }
}

/// Returns the columns that a specification names.
fn named(spec: &TriggerSpec) -> BTreeSet<String> {
    let key = spec.key_names().unwrap_or_default();
    let all = key.iter().chain(spec.column_names());
    all.chain(spec.watched_columns()).cloned().collect()
}

/// Returns the specification for the table that now has the former name of a renamed table. `None` if that table is watched, or if
/// it is a partition of a table that is watched in the same mode and on the same channel.
fn successor(
    actual: &Actual,
    watched: &[Watched],
    installed: &TriggerSpec,
) -> Option<Result<TriggerSpec, String>> {
    let table = installed.table();
    if !actual.is_table(table) {
        return None;
    }
    let is_same = |spec: &TriggerSpec| {
        spec.is_outbox() == installed.is_outbox() && spec.channel_name() == installed.channel_name()
    };
    let covers = |one: &Watched| match &one.table {
        Some(now) if now == table => true,
        Some(now) => actual.is_part(table, now) && one.spec.as_ref().is_none_or(is_same),
        None => false,
    };
    if watched.iter().any(covers) {
        return None;
    }
    if !actual.may_have_triggers(table) {
        return Some(Err(format!("{NO_RIGHT} it, or on a part of it")));
    }
    let spec = actual.trimmed(installed.clone());
    let spec = spec.map_err(|error| error.chain());
    Some(spec.and_then(|spec| match refusal(actual, &spec) {
        None => Ok(spec),
        Some(why) => Err(why),
    }))
}

/// Returns why this role may not create triggers on `table`, if it may not.
pub(super) fn no_right(actual: &Actual, table: &TableName) -> Option<String> {
    let may = actual.may_have_triggers(table);
    (!may).then(|| format!("{NO_RIGHT} {table}, or on a part of it"))
}

const NO_RIGHT: &str = "this role may not create triggers on";
