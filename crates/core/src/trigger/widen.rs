//! Merges a specification with the present installation of its table, or lists what an installation would remove.
//!
//! Programs install triggers independently of each other. So a specification is widened by what is installed, and refused if one
//! installation cannot serve both. Removing something requires an explicit decision.

use super::actual::{Actual, Requirement};
use super::catalog::Table;
use super::spec::TriggerSpec;
use super::validate::trim;
use super::watched::records_changes;
use crate::error::{Error, ErrorKind, Result};
use crate::name::TableName;
use crate::operation::OperationSet;

/// The present installation of a table.
enum Present {
    Nothing,
    /// Its specification, without columns that no longer exist: a new installation does not lose them.
    Specified(TriggerSpec),
    /// The comment of its function contains no specification. The value is whether changes are recorded, if the function's body
    /// shows it.
    Unknown(Option<bool>),
}

/// The parts of the present installation that a specification lacks.
#[derive(Debug, Default)]
struct Losses {
    /// Parts that conflict with the specification.
    exclusive: Vec<String>,
    /// Parts by which the specification can be widened.
    additional: Vec<String>,
}

impl Actual {
    /// Returns `spec` merged with the present installation of its table and with what [groups require](Self::requirements) of it:
    /// operations, columns, old columns, updates of further columns, replicated rows, and larger values. A program that installs
    /// the result removes nothing that another program needs.
    ///
    /// # Errors
    /// If `spec` does not fit its table; if it conflicts with the present installation or with what a group requires (another
    /// mode, channel or key); or if the comment of the present installation contains no specification, unless its function's
    /// body shows the same mode.
    pub fn widened(&self, spec: &TriggerSpec) -> Result<TriggerSpec> {
        let spec = &self.resolved(spec);
        let _ = self.validate(spec)?;
        let losses = self.losses_of(spec);
        if !losses.exclusive.is_empty() {
            let message = format!(
                "the specification of {} conflicts with the present installation: {}; specify the same, or narrow it \
                 explicitly",
                spec.table,
                losses.exclusive.join(", ")
            );
            return Err(Error::new(ErrorKind::Spec, message));
        }
        let widened = match self.present(spec) {
            Present::Specified(present) => union(spec.clone(), present),
            Present::Nothing | Present::Unknown(_) => spec.clone(),
        };
        let mut unknown = self.unknown_requirements.iter();
        if let Some((group, table)) = unknown.find(|(_, table)| *table == spec.table) {
            let message = format!(
                "a later version of pgherald stored what group {group} requires of {table}: install with that version, \
                 narrow it explicitly, or delete the group's row in pgherald.consumer_requirement"
            );
            return Err(Error::new(ErrorKind::Spec, message));
        }
        // The present installation conflicts with the group already, so installing the same again removes nothing.
        let is_chosen = matches!(self.present(spec), Present::Specified(_));
        let mut required = Vec::new();
        for requirement in self.requirements_of(spec) {
            let losses = self.losses_against(&requirement.spec, spec);
            if !losses.exclusive.is_empty() {
                if is_chosen {
                    continue;
                }
                let message = format!(
                    "the specification of {} conflicts with what group {} requires: {}; specify the same, \
                     narrow it explicitly, or delete the group's row in pgherald.consumer_requirement",
                    spec.table,
                    requirement.group,
                    losses.exclusive.join(", ")
                );
                return Err(Error::new(ErrorKind::Spec, message));
            }
            required.push(requirement.spec);
        }
        Ok(required
            .into_iter()
            .fold(widened, |widened, required| union(required, widened)))
    }

    /// Returns the requirements of groups, as far as this role may read them.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// The requirements of groups on the table of `spec`, without columns that the table no longer has.
    fn requirements_of(&self, spec: &TriggerSpec) -> Vec<Requirement> {
        let Ok(table) = self.table(&spec.table) else {
            return Vec::new();
        };
        let required = self.requirements.iter();
        let required = required.filter(|requirement| requirement.spec.table == spec.table);
        let trimmed = required.map(|requirement| Requirement {
            spec: trim(self.resolved(&requirement.spec), table),
            ..requirement.clone()
        });
        trimmed.collect()
    }

    /// Describes what an installation of `spec` would remove: what the present installation has, and what groups require.
    #[must_use]
    pub fn losses(&self, spec: &TriggerSpec) -> Vec<String> {
        let spec = &self.resolved(spec);
        let losses = self.losses_of(spec);
        let required = self.unmet_by(spec).into_iter().map(|(required, lacks)| {
            format!(
                "what group {} requires ({})",
                required.group,
                lacks.join(", ")
            )
        });
        let present = losses.exclusive.into_iter().chain(losses.additional);
        present.chain(required).collect()
    }

    /// The requirements that an installation of `spec` would not cover, and what each of them would lack.
    pub(super) fn unmet_by(&self, spec: &TriggerSpec) -> Vec<(Requirement, Vec<String>)> {
        let required = self.requirements_of(spec).into_iter();
        let unmet = required.map(|required| {
            let losses = self.losses_against(&required.spec, spec);
            let lacks = [losses.exclusive, losses.additional].concat();
            (required, lacks)
        });
        unmet.filter(|(_, lacks)| !lacks.is_empty()).collect()
    }

    /// The specification to verify for a program that needs `spec`: an installation that has more is not a drift.
    pub(super) fn covering(&self, spec: &TriggerSpec) -> TriggerSpec {
        match self.present(spec) {
            Present::Specified(present) if self.losses_of(spec).exclusive.is_empty() => {
                union(spec.clone(), present)
            }
            _ => spec.clone(),
        }
    }

    fn losses_of(&self, spec: &TriggerSpec) -> Losses {
        match self.present(spec) {
            Present::Nothing => Losses::default(),
            Present::Unknown(is_outbox) if is_outbox == Some(spec.is_outbox()) => Losses::default(),
            Present::Unknown(is_outbox) => Losses {
                exclusive: vec![match is_outbox {
                    Some(true) => RECORDED.to_owned(),
                    Some(false) => "announcing changes".to_owned(),
                    None => {
                        "a specification that its function's comment does not contain".to_owned()
                    }
                }],
                ..Losses::default()
            },
            Present::Specified(present) => self.losses_against(&present, spec),
        }
    }

    /// The parts of an installation of `before` that an installation of `spec` lacks.
    fn losses_against(&self, before: &TriggerSpec, spec: &TriggerSpec) -> Losses {
        let key = |spec: &TriggerSpec| match &spec.key {
            Some(key) => key.clone(),
            None => self.primary_key(&spec.table),
        };
        losses(before, spec, &key(before), &key(spec))
    }

    /// The present installation of the table of `spec`. If there is none, but another table that had this name before still
    /// reports changes under it, only the mode of that installation.
    fn present(&self, spec: &TriggerSpec) -> Present {
        let name = &spec.table;
        let Ok(table) = self.table(name) else {
            return Present::Nothing;
        };
        match self.installation(name, table).function {
            Some((_, function)) => match function.spec(Some(table)) {
                Some(present) => Present::Specified(trimmed(present, name, table)),
                None => Present::Unknown(records_changes(&function.body)),
            },
            None => match self.namesake_mode(name) {
                Some(is_outbox) => Present::Unknown(Some(is_outbox)),
                None => Present::Nothing,
            },
        }
    }
}

fn trimmed(present: TriggerSpec, name: &TableName, table: &Table) -> TriggerSpec {
    trim(present.for_table(name.clone()), table)
}

const RECORDED: &str = "recording changes in the outbox";

fn losses(
    present: &TriggerSpec,
    desired: &TriggerSpec,
    present_key: &[String],
    desired_key: &[String],
) -> Losses {
    let mut exclusive = Vec::new();
    if present.mode != desired.mode || present.channel != desired.channel {
        exclusive.push(match present.is_outbox() {
            true => RECORDED.to_owned(),
            false => format!("announcing changes on channel {}", present.channel),
        });
    }
    if present_key != desired_key {
        exclusive.push(match present_key {
            [] => "events about the whole table".to_owned(),
            key => format!("the key {}", key.join(", ")),
        });
    }
    let mut additional = Vec::new();
    let fewer = |present: &[String], desired: &[String]| -> Vec<_> {
        let lost = present.iter().filter(|name| !desired.contains(name));
        lost.cloned().collect()
    };
    if !desired.every_column {
        let lost = fewer(&present.columns, &desired.columns);
        additional.extend(lost.iter().map(|name| format!("column {name}")));
        if present.every_column {
            additional.push("columns that are added later".to_owned());
        }
    }
    let lost = present.operations.iter();
    let lost = lost.filter(|operation| !desired.operations.contains(*operation));
    additional.extend(lost.map(|operation| format!("operation {operation}")));
    if present.old_columns && !desired.old_columns {
        additional.push("old columns".to_owned());
    }
    match (&*present.when_changed, &*desired.when_changed) {
        (_, []) => {}
        ([], some) => additional.push(format!("updates that change none of {}", some.join(", "))),
        (present, some) => additional.extend(
            fewer(present, some)
                .iter()
                .map(|name| format!("updates that change only {name}")),
        ),
    }
    if present.replicated && !desired.replicated {
        additional.push("replicated rows".to_owned());
    }
    if limit(present) > limit(desired) {
        let limit = limit(desired);
        additional.push(format!("values of more than {limit} bytes"));
    }
    Losses {
        exclusive,
        additional,
    }
}

fn limit(spec: &TriggerSpec) -> u32 {
    spec.value_limit.unwrap_or(TriggerSpec::DEFAULT_VALUE_LIMIT)
}

/// The union of both. Columns of `present` come first, so nothing changes if it covers `desired`.
fn union(desired: TriggerSpec, present: TriggerSpec) -> TriggerSpec {
    let both = |present: Vec<String>, desired: &[String]| {
        let more: Vec<_> = desired
            .iter()
            .filter(|name| !present.contains(name))
            .cloned()
            .collect();
        [present, more].concat()
    };
    let operations = present.operations.iter().chain(desired.operations.iter());
    TriggerSpec {
        operations: operations.collect::<OperationSet>(),
        columns: both(present.columns, &desired.columns),
        when_changed: match (
            present.when_changed.is_empty(),
            desired.when_changed.is_empty(),
        ) {
            (false, false) => both(present.when_changed, &desired.when_changed),
            _ => Vec::new(),
        },
        every_column: present.every_column || desired.every_column,
        old_columns: present.old_columns || desired.old_columns,
        replicated: present.replicated || desired.replicated,
        value_limit: match (present.value_limit, desired.value_limit) {
            (Some(one), Some(other)) => Some(one.max(other)),
            (one, other) => one
                .or(other)
                .filter(|limit| *limit > TriggerSpec::DEFAULT_VALUE_LIMIT),
        },
        ..desired
    }
}
