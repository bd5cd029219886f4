//! `pgherald install --migration`: prints a script that installs the specifications on any database.

use std::process::ExitCode;

use pgherald_core::trigger::{TriggerSpec, migration_script};
use serde::Serialize;

use super::spec;
use crate::arguments::Install;
use crate::failure::Failure;
use crate::output::Output;
use crate::tables::unresolved;

#[derive(Debug, Serialize)]
struct Report<'a> {
    sql: &'a str,
}

/// Prints the script. Does not connect, because the script inspects the database when it runs.
pub(super) fn print(
    output: &mut Output,
    install: &Install,
    from: Option<Vec<TriggerSpec>>,
) -> Result<ExitCode, Failure> {
    let specs = match from {
        Some(specs) => specs,
        None => {
            let tables = install.tables.iter();
            let specs = tables.map(|typed| Ok(spec(unresolved(typed)?, install)));
            specs.collect::<Result<_, Failure>>()?
        }
    };
    let sql =
        migration_script(&specs, install.narrow).map_err(|error| Failure::usage(error.chain()))?;
    match output.is_json() {
        true => output.object(&Report { sql: &sql })?,
        false => output.sql(sql.trim_end())?,
    }
    output.flush()?;
    Ok(ExitCode::SUCCESS)
}
