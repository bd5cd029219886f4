//! `pgherald install --check`: checks whether the specifications are installed, for continuous integration.

use std::process::ExitCode;

use pgherald_core::__private::host::trigger::Actual;
use pgherald_core::trigger::{Drift, DriftKind, TriggerSpec};
use serde::Serialize;

use super::widened;
use crate::commands::group::state::described;
use crate::failure::Failure;
use crate::output::Output;

#[derive(Debug, Serialize)]
struct Report {
    /// Empty if everything is installed.
    drift: Vec<Difference>,
}

/// One difference between the specifications and the database.
#[derive(Debug, Serialize)]
struct Difference {
    /// `None` if the difference concerns all tables.
    table: Option<String>,
    difference: String,
    /// Whether changes, or values of them, are lost.
    loses_changes: bool,
    /// Whether an installation removes the difference.
    #[serde(skip)]
    is_repaired: bool,
}

impl Difference {
    fn of(drift: &Drift) -> Self {
        Self {
            difference: described(drift),
            table: Some(drift.table.to_string()),
            loses_changes: drift.loses_changes(),
            is_repaired: !matches!(
                drift.kind,
                DriftKind::TableMissing | DriftKind::Unfit { .. }
            ),
        }
    }
}

/// Prints the differences. The exit code is 1 if there are any. Changes nothing.
pub(super) fn check(
    output: &mut Output,
    actual: &Actual,
    specs: &[TriggerSpec],
    narrow: bool,
) -> Result<ExitCode, Failure> {
    let drift = differences(actual, specs, narrow)?;
    let code = ExitCode::from(u8::from(!drift.is_empty()));
    if output.is_json() {
        output.object(&Report { drift })?;
    } else if drift.is_empty() {
        output.line("Everything is installed as it should be.")?;
    } else {
        for Difference {
            table, difference, ..
        } in &drift
        {
            let table = table.as_deref().unwrap_or("all tables");
            output.line(&format!("{table}: {difference}"))?;
        }
        if drift.iter().all(|one| one.is_repaired) {
            output.line("Run the same command with --commit instead of --check to install.")?;
        }
    }
    output.flush()?;
    Ok(code)
}

fn differences(
    actual: &Actual,
    specs: &[TriggerSpec],
    narrow: bool,
) -> Result<Vec<Difference>, Failure> {
    let mut found = Vec::new();
    for spec in specs {
        let drifts = actual.verify(spec).into_iter();
        // An ambiguous key belongs to the table, and installing does not change it: doctor reports it.
        let drifts = drifts.filter(|one| !matches!(one.kind, DriftKind::AmbiguousKey { .. }));
        found.extend(drifts.map(|drift| Difference::of(&drift)));
        let more = if narrow {
            actual.losses(spec)
        } else {
            Vec::new()
        };
        if !more.is_empty() {
            found.push(Difference {
                table: Some(spec.table().to_string()),
                difference: format!("more is installed: {}", more.join(", ")),
                loses_changes: false,
                is_repaired: true,
            });
        }
    }
    if !found.is_empty() {
        return Ok(found);
    }
    // Drifts do not cover the objects that all tables share. A plan does.
    let specs = match narrow {
        true => specs.to_vec(),
        false => widened(actual, specs)?.0,
    };
    if !actual.plan(&specs)?.is_empty() {
        found.push(Difference {
            table: None,
            difference: "schema pgherald is outdated; run pgherald upgrade".to_owned(),
            loses_changes: false,
            is_repaired: true,
        });
    }
    Ok(found)
}
