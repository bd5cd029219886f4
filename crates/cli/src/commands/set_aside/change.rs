//! Retries or discards events that were set aside.

use std::sync::Arc;

use pgherald_core::group::Group;
use serde::Serialize;
use tokio_postgres::Client;

use super::Kind;
use super::progress::Progress;
use super::select::{Selected, not_found, select};
use crate::arguments::Selection;
use crate::commands::group::must_exist;
use crate::failure::Failure;
use crate::guarded::guarded;
use crate::output::Output;
use crate::words;

/// The number of events that one statement changes. This keeps statements short, and lets the command show its progress.
const CHUNK: usize = 1_000;

/// The change to the selected events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    RetryParked,
    RetryDead,
    Discard,
}

#[derive(Debug, Serialize)]
struct Changed<'a> {
    group: &'a str,
    /// `retried` or `discarded`.
    action: &'static str,
    count: u64,
    /// Parked events that wait until an earlier event of their row is handled.
    #[serde(skip_serializing_if = "Option::is_none")]
    behind: Option<usize>,
    /// Ids in the arguments that are no such events.
    not_found: &'a [i64],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    notes: &'a [String],
}

impl Action {
    fn kind(self) -> Kind {
        match self {
            Self::RetryParked => Kind::Parked,
            Self::RetryDead | Self::Discard => Kind::Dead,
        }
    }

    fn done(self) -> &'static str {
        match self {
            Self::RetryParked | Self::RetryDead => "retried",
            Self::Discard => "discarded",
        }
    }

    async fn apply(self, group: &Group<'_>, ids: Option<&[i64]>) -> Result<u64, Failure> {
        Ok(match self {
            Self::RetryParked => group.retry_parked(ids).await?,
            Self::RetryDead => group.retry_dead_letters(ids).await?,
            Self::Discard => group.discard_dead_letters(ids).await?,
        })
    }
}

pub(super) async fn change(
    client: &Arc<Client>,
    output: &mut Output,
    action: Action,
    selection: &Selection,
) -> Result<(), Failure> {
    let group = &selection.group;
    must_exist(client, group).await?;
    let selected = select(client, action.kind(), selection).await?;
    let operator = Group::new(client, group);
    let count = match action {
        // In one statement, because each step would search all parked events for earlier events of the same rows.
        Action::RetryParked if selection.all => action.apply(&operator, None).await?,
        _ => in_steps(action, &operator, &selected.ids).await?,
    };
    let mut notes = Vec::new();
    if action == Action::RetryParked {
        notes = waiting(client, group, &selected).await?;
    }
    if output.is_json() {
        output.object(&Changed {
            group,
            action: action.done(),
            count,
            behind: (action == Action::RetryParked).then_some(selected.behind),
            not_found: &selected.not_found,
            notes: &notes,
        })?;
        return Ok(());
    }
    let events = words::count(count, action.kind().noun());
    output.line(&match action {
        Action::RetryParked if count == 1 => format!("{events} of {group} is due now."),
        Action::RetryParked => format!("{events} of {group} are due now."),
        Action::RetryDead => format!("{events} of {group} will be retried."),
        Action::Discard => format!("{events} of {group} discarded."),
    })?;
    notes.extend(not_found(action.kind(), &selected.not_found));
    for note in &notes {
        output.line(note)?;
    }
    Ok(())
}

async fn in_steps(action: Action, group: &Group<'_>, ids: &[i64]) -> Result<u64, Failure> {
    let mut progress = Progress::new(ids.len(), CHUNK);
    let mut count = 0;
    for chunk in ids.chunks(CHUNK) {
        count += action.apply(group, Some(chunk)).await?;
        progress.advance(chunk.len());
    }
    Ok(count)
}

/// Returns the reasons why selected events are not retried at once.
async fn waiting(
    client: &Client,
    group: &str,
    selected: &Selected,
) -> Result<Vec<String>, Failure> {
    let sql = include_str!("../sql/running.sql");
    let queries = async {
        let row = client.query_one(sql, &[&group]).await?;
        Ok((row.try_get(0)?, row.try_get::<_, Vec<String>>(1)?))
    };
    let (is_paused, consumers): (bool, Vec<String>) = guarded(client, queries).await?;
    let mut notes = Vec::new();
    match selected.behind {
        0 => {}
        1 => notes.push("1 begins when an earlier event of the same row is handled.".to_owned()),
        behind => notes.push(format!(
            "{behind} begin when an earlier event of the same row is handled."
        )),
    }
    if consumers.is_empty() {
        notes.push("No consumer of the group runs.".to_owned());
    }
    if is_paused {
        notes.push(format!(
            "It is paused: pgherald group resume {}",
            words::last(group)
        ));
    }
    Ok(notes)
}
