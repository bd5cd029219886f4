//! `pgherald uninstall`.

use std::process::ExitCode;

use pgherald_core::trigger;

use super::plan::conclude;
use crate::arguments::Uninstall;
use crate::database::Database;
use crate::failure::Failure;
use crate::output::Output;
use crate::tables::resolve;

pub(crate) async fn run(
    database: &Database,
    output: &mut Output,
    uninstall: &Uninstall,
) -> Result<ExitCode, Failure> {
    let client = database.client().await?;
    let (plan, done) = if uninstall.all {
        let plan = trigger::plan_uninstall_all(&client).await?;
        (plan, "Removed everything.".to_owned())
    } else {
        let tables = resolve(&client, &uninstall.tables).await?;
        let plan = trigger::plan_uninstall(&client, &tables).await?;
        let names: Vec<_> = tables.iter().map(ToString::to_string).collect();
        (plan, format!("Removed from {}.", names.join(", ")))
    };
    conclude(&client, output, &plan, uninstall.commit, &done).await
}
