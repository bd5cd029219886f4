//! `pgherald upgrade`.

use std::process::ExitCode;

use pgherald_core::trigger;

use super::plan::conclude;
use crate::arguments::Upgrade;
use crate::database::Database;
use crate::failure::Failure;
use crate::output::Output;

pub(crate) async fn run(
    database: &Database,
    output: &mut Output,
    upgrade: &Upgrade,
) -> Result<ExitCode, Failure> {
    let client = database.client().await?;
    let mut specs = Vec::new();
    for table in trigger::watched(&client).await? {
        let Some(spec) = table.spec else {
            let message = format!(
                "the comment of {} does not tell what it was made for",
                table.function
            );
            return Err(Failure::problem(message)
                .hint("install the triggers of its table again, or uninstall it"));
        };
        specs.push(spec);
    }
    let plan = trigger::plan(&client, &specs).await?;
    conclude(
        &client,
        output,
        &plan,
        upgrade.commit,
        "Everything is up to date.",
    )
    .await
}
