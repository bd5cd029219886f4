//! Compares the installed triggers with the desired ones, and describes the differences.

use std::fmt;

use tokio_postgres::Client;

use super::VERSION;
use super::actual::{Actual, Requirement};
use super::compare::{Finding, compare};
use super::desired::desired;
use super::inspect::inspect;
use super::note::Note;
use super::shared::{self, OutboxState, Shared};
use super::spec::TriggerSpec;
use super::template::qualified;
use crate::error::{Error, Result};
use crate::name::TableName;

/// One difference between a specification and the database. `Display` describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drift {
    /// The watched table.
    pub table: TableName,
    /// Where the difference is: the table itself, or one of its partitions or children.
    pub relation: TableName,
    /// What the difference is.
    pub kind: DriftKind,
}

impl Drift {
    /// Returns whether the drift loses changes of the table, or values that the specification names. With any other
    /// drift, every change is still reported.
    #[must_use]
    pub fn loses_changes(&self) -> bool {
        match self.kind {
            DriftKind::TableMissing
            | DriftKind::Unfit { .. }
            | DriftKind::OutboxMissing
            | DriftKind::Undescribed
            | DriftKind::Unheard { .. }
            | DriftKind::Missing(_)
            | DriftKind::Disabled(_) => true,
            DriftKind::Outdated { .. }
            | DriftKind::LeftOver(_)
            | DriftKind::AmbiguousKey { .. } => false,
        }
    }
}

/// The kinds of [`Drift`]. Applying a new [`plan`](super::plan()) repairs each of them, except the first two and
/// [`AmbiguousKey`](Self::AmbiguousKey).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DriftKind {
    /// The table does not exist.
    TableMissing,
    /// The specification no longer fits the table, for example because a column is gone.
    Unfit {
        /// Why it does not fit.
        reason: String,
    },
    /// The outbox does not exist: writes fail.
    OutboxMissing,
    /// The row that describes the table in the outbox does not exist: recorded rows cannot become events.
    Undescribed,
    /// The named function or trigger loses changes or values that the specification needs, because it was installed with another
    /// specification or under another name of the table.
    Unheard {
        /// The function or trigger.
        object: String,
        /// How it differs.
        reason: String,
    },
    /// The named trigger does not exist: changes are lost.
    Missing(String),
    /// The named trigger does not fire: changes are lost.
    Disabled(String),
    /// The named function has another version or specification.
    Outdated {
        /// The function.
        object: String,
        /// How it differs.
        reason: String,
    },
    /// The named trigger or function of pgherald is no longer used. It belongs to a detached partition, or to a former name of
    /// the table.
    LeftOver(String),
    /// Values of a key column may be equal in SQL and yet have different texts, such as `Bob` and `bob` of type `citext`. The
    /// key of an event is the text in the written row, so it does not match a filter or a lock under another spelling. A cache
    /// needs a key type that reads all spellings as one key.
    AmbiguousKey {
        /// The column.
        column: String,
        /// Its type.
        type_name: String,
    },
}

/// Compares `specs` with what is installed: [inspects](inspect()) their tables and [verifies](Actual::verify) each of them.
/// Returns no drift if nothing differs. Only reads, in a number of statements that does not depend on the number of
/// specifications.
///
/// # Errors
/// If the catalog cannot be read.
pub async fn verify(client: &Client, specs: &[TriggerSpec]) -> Result<Vec<Drift>> {
    let tables: Vec<_> = specs.iter().map(TriggerSpec::table).collect();
    let actual = inspect(client, &tables).await?;
    let drifts: Vec<_> = specs.iter().map(|spec| actual.verify(spec)).collect();
    Ok(drifts.concat())
}

impl Actual {
    /// Returns the requirements of groups that the installation does not cover. The consumers of these groups are not live.
    /// Covers all groups if the state was read by [`inspect_all`](super::inspect_all()).
    pub fn unmet(&self) -> impl Iterator<Item = (&Requirement, Drift)> {
        self.requirements.iter().flat_map(|requirement| {
            let drifts = self.verify(&requirement.spec).into_iter();
            drifts
                .filter(Drift::loses_changes)
                .map(move |drift| (requirement, drift))
        })
    }

    /// Compares `spec` with what is installed. Returns no drift if nothing differs, or if the installation only has more.
    #[must_use]
    pub fn verify(&self, spec: &TriggerSpec) -> Vec<Drift> {
        let spec = &self.resolved(spec);
        let table = spec.table();
        let on_table = |kind| Drift {
            table: table.clone(),
            relation: table.clone(),
            kind,
        };
        if self.table(table).is_err() {
            return vec![on_table(DriftKind::TableMissing)];
        }
        let unfit = |error: Error| {
            vec![on_table(DriftKind::Unfit {
                reason: error.to_string(),
            })]
        };
        // Check the specification alone first: if it does not fit, the installation is not the reason.
        let covering = self.validate(spec).map(|_| self.covering(spec));
        let checked = covering.as_ref().map_err(Error::clone).and_then(|spec| {
            let (valid, installed) = self.validate(spec)?;
            Ok((desired(&valid)?, installed))
        });
        let (desired, installed) = match checked {
            Ok(checked) => checked,
            Err(error) => return unfit(error),
        };
        let mut drifts = Vec::new();
        let has_function = installed.function.is_some();
        // Without the table's own function its triggers are missing, which `compare` reports.
        if has_function {
            drifts.extend(shared_drift(&shared::state(self)).map(on_table));
        }
        if let Some(description) = &desired.description {
            let rows = self.outbox.as_ref().map(|outbox| outbox.rows.as_ref());
            match rows.map(OutboxState::Installed) {
                None => drifts.push(on_table(DriftKind::OutboxMissing)),
                Some(outbox) if has_function && outbox.lacks_table(description) => {
                    drifts.push(on_table(DriftKind::Undescribed));
                }
                Some(_) => {}
            }
        }
        let findings = compare(&desired, &installed);
        let note = installed.function.and_then(|(_, own)| own.note.as_ref());
        let lacking = note.and_then(|note| lacking(note, spec, &desired.note));
        drifts.extend(findings.iter().filter_map(|finding| {
            let (relation, kind) = drift(finding, &desired.qualified(), lacking.as_deref())?;
            Some(Drift {
                table: table.clone(),
                relation: relation.unwrap_or(table).clone(),
                kind,
            })
        }));
        let ambiguous = desired.ambiguous.iter().cloned();
        drifts
            .extend(ambiguous.map(|(column, type_name)| {
                on_table(DriftKind::AmbiguousKey { column, type_name })
            }));
        drifts
    }
}

fn shared_drift(shared: &Shared) -> Option<DriftKind> {
    let (object, reason) = match shared {
        Shared::Current => return None,
        Shared::Missing(name) => (name, "it is missing".to_owned()),
        Shared::Outdated(name, reason) => (name, reason.clone()),
    };
    let object = (*object).to_owned();
    Some(DriftKind::Outdated { object, reason })
}

/// Describes what `spec` requires and events of the installation lack. The text completes "was installed". If `spec` requires
/// [every column](TriggerSpec::every_column), a column that was added after the installation does not count.
fn lacking(actual: &Note, spec: &TriggerSpec, desired: &Note) -> Option<String> {
    let named = spec.columns.iter();
    let missing: Vec<_> = named
        .filter(|name| !actual.columns.contains(name))
        .collect();
    if actual.key != desired.key {
        let key = actual.key.join(", ");
        Some(format!("with the key ({key})"))
    } else if let [first, others @ ..] = &*missing {
        let others: String = others.iter().map(|name| format!(", {name}")).collect();
        Some(format!("without column {first}{others}"))
    } else if spec.every_column && !actual.every_column && actual.version == VERSION {
        Some("for some columns only".to_owned())
    } else if spec.old_columns && !actual.old_columns {
        Some("without old values".to_owned())
    } else if spec.replicated && !actual.replicated {
        Some("without replicated rows".to_owned())
    } else {
        None
    }
}

/// The relation, if it is not the watched table, and the kind of the drift. `None` if the finding is not reported.
fn drift<'a>(
    finding: &Finding<'a>,
    function: &str,
    lacking: Option<&str>,
) -> Option<(Option<&'a TableName>, DriftKind)> {
    let unheard = |object: &str, reason: &str| DriftKind::Unheard {
        object: object.to_owned(),
        reason: reason.to_owned(),
    };
    Some(match finding {
        Finding::FunctionMissing | Finding::NoteMoved => return None,
        Finding::FunctionOutdated {
            reason,
            unheard: missed,
            ..
        } => (
            None,
            match missed.or(lacking) {
                Some(missed) => unheard(function, missed),
                None => DriftKind::Outdated {
                    object: function.to_owned(),
                    reason: reason.clone(),
                },
            },
        ),
        Finding::TriggerMissing(trigger) => {
            (Some(&trigger.on), DriftKind::Missing(trigger.name.clone()))
        }
        Finding::TriggerDisabled(trigger) => {
            (Some(&trigger.on), DriftKind::Disabled(trigger.name.clone()))
        }
        Finding::TriggerAltered { trigger, reason } => {
            (Some(&trigger.on), unheard(&trigger.name, reason))
        }
        Finding::TriggerLeftOver(trigger) => (
            Some(&trigger.on.0),
            DriftKind::LeftOver(trigger.name.clone()),
        ),
        Finding::FunctionLeftOver(name) => (None, DriftKind::LeftOver(qualified(name))),
    })
}

impl Drift {
    /// Returns what differs, without the name of the table.
    #[must_use]
    pub fn problem(&self) -> String {
        let relation = &self.relation;
        match &self.kind {
            DriftKind::TableMissing => "the table does not exist".to_owned(),
            DriftKind::Unfit { reason } => reason.clone(),
            DriftKind::OutboxMissing => "there is no outbox to record changes in".to_owned(),
            DriftKind::Undescribed => "pgherald.outbox_relation has no row for the table, for example because the schema was restored \
                 without its data"
                .to_owned(),
            DriftKind::Unheard { object, reason } => format!("{object} was installed {reason}"),
            DriftKind::Missing(trigger) => format!("trigger {trigger} is missing on {relation}"),
            DriftKind::Disabled(trigger) => format!("trigger {trigger} on {relation} is disabled"),
            DriftKind::Outdated { object, reason } => format!("{object} is outdated: {reason}"),
            DriftKind::AmbiguousKey { column, type_name } => format!(
                "key column {column:?} has type {type_name}, in which equal values may have different texts, and events are \
                 matched by the exact text of their row"
            ),
            DriftKind::LeftOver(object) => format!("{object} on {relation} is left over"),
        }
    }

    /// Returns what repairs the drift. `None` if that depends on the reason.
    #[must_use]
    pub fn remedy(&self) -> Option<&'static str> {
        match self.kind {
            DriftKind::TableMissing | DriftKind::Unfit { .. } => None,
            DriftKind::OutboxMissing
            | DriftKind::Undescribed
            | DriftKind::Missing(_)
            | DriftKind::Outdated { .. }
            | DriftKind::LeftOver(_) => Some("install the triggers"),
            DriftKind::Unheard { .. } => Some("install the triggers, or correct the specification"),
            DriftKind::Disabled(_) => Some("enable it"),
            DriftKind::AmbiguousKey { .. } => Some(
                "make sure that the column holds one text for each value, choose another key, or give caches a key type that \
                 reads all texts of a value as one",
            ),
        }
    }
}

/// The table, the problem and the remedy.
impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.table, self.problem())?;
        match self.remedy() {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}
