//! What the present installation of a table has and a specification does not ask for: it is kept, or its loss is named.
//!
//! Programs install for themselves and do not know of each other. So a specification is widened by what is installed, and
//! refused where one installation cannot serve both. To take something away is a decision of its own.

use super::actual::{Actual, Requirement, Table};
use super::spec::TriggerSpec;
use super::validate::trim;
use super::watched::does_record;
use crate::error::{Error, Kind, Result};
use crate::name::TableName;
use crate::operation::OperationSet;

/// What is installed on a table.
enum Present {
    Nothing,
    /// Of what could be installed again: columns that are gone are not lost by an installation.
    Specified(TriggerSpec),
    /// No comment says what; whether changes are recorded, if the function's body does.
    Unknown(Option<bool>),
}

/// What would be lost.
#[derive(Debug, Default)]
struct Losses {
    /// What one installation cannot have besides what is specified.
    exclusive: Vec<String>,
    /// What it can have as well.
    additional: Vec<String>,
}

impl Actual {
    /// `spec` together with what the present installation of its table has and what [groups require](Self::requirements) of
    /// it: operations, columns, columns before an update, updates of further columns, replicated rows, and larger values. What
    /// is installed for one program is not taken away by another one that installs this.
    ///
    /// # Errors
    /// If it does not fit its table; or if no installation can have both: the present one or what a group requires is in the
    /// other mode, announces on another channel, or has another key; or the comment of the present one does not say what it is.
    pub fn widened(&self, spec: &TriggerSpec) -> Result<TriggerSpec> {
        let _ = self.validate(spec)?;
        let losses = self.losses_of(spec);
        if !losses.exclusive.is_empty() {
            let message = format!(
                "installing on {} as specified would take away what the present installation has: {}; specify the same, or \
                 narrow it explicitly",
                spec.table,
                losses.exclusive.join(", ")
            );
            return Err(Error::new(Kind::Spec, message));
        }
        let widened = match self.present(spec) {
            Present::Specified(present) => union(spec.clone(), present),
            Present::Nothing | Present::Unknown(_) => spec.clone(),
        };
        let mut unknown = self.unknown_requirements.iter();
        if let Some((group, table)) = unknown.find(|(_, table)| *table == spec.table) {
            let message = format!(
                "what group {group} requires of {table} was stored by a later version of pgherald: install with that version, \
                 narrow it explicitly, or delete the group's row in pgherald.consumer_requirement"
            );
            return Err(Error::new(Kind::Spec, message));
        }
        // Another installation that cannot serve the group was chosen before: to repeat it takes nothing from the group.
        let is_chosen = matches!(self.present(spec), Present::Specified(_));
        let mut required = Vec::new();
        for requirement in self.requirements_of(spec) {
            let losses = self.losses_against(&requirement.spec, spec);
            if !losses.exclusive.is_empty() {
                if is_chosen {
                    continue;
                }
                let message = format!(
                    "group {} requires {} otherwise than specified: {}; specify the same, \
                     narrow it explicitly, or delete the group's row in pgherald.consumer_requirement",
                    requirement.group,
                    spec.table,
                    losses.exclusive.join(", ")
                );
                return Err(Error::new(Kind::Spec, message));
            }
            required.push(requirement.spec);
        }
        Ok(required
            .into_iter()
            .fold(widened, |widened, required| union(required, widened)))
    }

    /// What groups require of tables, as far as this role may read it.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// What groups require of the table of `spec`, as far as the table still has it.
    fn requirements_of(&self, spec: &TriggerSpec) -> Vec<Requirement> {
        let Ok(table) = self.table(&spec.table) else {
            return Vec::new();
        };
        let required = self.requirements.iter();
        let required = required.filter(|requirement| requirement.spec.table == spec.table);
        let trimmed = required.map(|requirement| Requirement {
            spec: trim(requirement.spec.clone(), table),
            ..requirement.clone()
        });
        trimmed.collect()
    }

    /// What the present installation of the table of `spec` has and an installation of `spec` would take away, in words.
    #[must_use]
    pub fn losses(&self, spec: &TriggerSpec) -> Vec<String> {
        let losses = self.losses_of(spec);
        let mut all = [losses.exclusive, losses.additional].concat();
        for requirement in self.requirements_of(spec) {
            let losses = self.losses_against(&requirement.spec, spec);
            let losses = [losses.exclusive, losses.additional].concat();
            if !losses.is_empty() {
                all.push(format!(
                    "what group {} requires ({})",
                    requirement.group,
                    losses.join(", ")
                ));
            }
        }
        all
    }

    /// What is to be verified for a program that desires `spec`: an installation that has more is as good.
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
                    Some(false) => "its changes are announced".to_owned(),
                    None => "its function's comment does not say what it was made for".to_owned(),
                }],
                ..Losses::default()
            },
            Present::Specified(present) => self.losses_against(&present, spec),
        }
    }

    /// What an installation of `before` has and one of `spec` has not.
    fn losses_against(&self, before: &TriggerSpec, spec: &TriggerSpec) -> Losses {
        let key = |spec: &TriggerSpec| match &spec.key {
            Some(key) => key.clone(),
            None => self.primary_key(&spec.table),
        };
        losses(before, spec, &key(before), &key(spec))
    }

    /// What is installed on the table of `spec`; or, if that is nothing and changes of a table that was called so before come
    /// under its name, in which mode those are.
    fn present(&self, spec: &TriggerSpec) -> Present {
        let name = &spec.table;
        let Ok(table) = self.table(name) else {
            return Present::Nothing;
        };
        match self.installation(name, table).function {
            Some((_, function)) => match function.note.clone().and_then(|note| note.spec()) {
                Some(present) => Present::Specified(trimmed(present, name, table)),
                None => Present::Unknown(does_record(&function.body)),
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

const RECORDED: &str = "its changes are recorded in the outbox";

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
            false => format!("its changes are announced on channel {}", present.channel),
        });
    }
    if present_key != desired_key {
        exclusive.push(match present_key {
            [] => "its events are about the whole table".to_owned(),
            key => format!("its rows are told apart by {}", key.join(", ")),
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
    }
    let lost = present.operations.iter();
    let lost = lost.filter(|operation| !desired.operations.contains(*operation));
    additional.extend(lost.map(|operation| format!("operation {operation}")));
    if present.old_columns && !desired.old_columns {
        additional.push("columns before an update".to_owned());
    }
    match (&*present.when_changed, &*desired.when_changed) {
        (_, []) => {}
        ([], some) => additional.push(format!("updates that change none of {}", some.join(", "))),
        (present, some) => additional.extend(
            fewer(present, some)
                .iter()
                .map(|name| format!("updates that change {name} alone")),
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

/// Both in one: `present` first, so that nothing changes where it covers `desired`.
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
