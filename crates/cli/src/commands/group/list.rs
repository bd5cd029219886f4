//! `pgherald group list`.

use std::process::ExitCode;

use pgherald_core::__private::host;
use serde::Serialize;
use tokio_postgres::Client;

use super::must_have_outbox;
use super::state::{GroupState, groups, requirements};
use crate::failure::Failure;
use crate::guarded::guarded;
use crate::output::Output;
use crate::words;

#[derive(Debug, Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    state: &'a GroupState,
    /// The required tables. Empty if the group's programs do not state requirements.
    tables: Vec<String>,
}

pub(super) async fn list(client: &Client, output: &mut Output) -> Result<ExitCode, Failure> {
    must_have_outbox(client).await?;
    let queries = async {
        let required = requirements(&host::trigger::inspect_all(client, &[]).await?);
        Ok((groups(client).await?, required))
    };
    let (groups, required) = guarded(client, queries).await?;
    let listed = groups.iter().map(|state| {
        let its = required.iter().filter(|one| one.group == state.group);
        let tables = its.map(|one| one.specification.table().to_string());
        Listed {
            state,
            tables: tables.collect(),
        }
    });
    let groups: Vec<Listed<'_>> = listed.collect();
    if output.is_json() {
        for group in &groups {
            output.object(group)?;
        }
    } else if groups.is_empty() {
        output.line("There are no groups: a group is created by its first consumer.")?;
    } else {
        let headings = [
            "GROUP",
            "STATE",
            "TABLES",
            "LAG",
            "OLDEST",
            "CONSUMERS",
            "PARKED",
            "FAILING",
            "DEAD LETTERS",
        ];
        output.table(&headings, &groups.iter().map(row).collect::<Vec<_>>())?;
    }
    output.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn row(Listed { state, tables }: &Listed<'_>) -> Vec<String> {
    vec![
        state.group.clone(),
        state.state.clone(),
        match &**tables {
            [] => "not stated".to_owned(),
            tables => tables.join(","),
        },
        words::lag(state.lag_events, state.lag_is_estimate),
        words::duration(state.lag_seconds),
        state.nodes.len().to_string(),
        state.parked.to_string(),
        state.failing.to_string(),
        state.dead_letters.to_string(),
    ]
}
