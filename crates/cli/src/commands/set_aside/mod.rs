//! `pgherald parked` and `pgherald dead-letters`: events that were set aside.
//!
//! ```text
//!   arguments ── select: which events ──► change: retry or discard them, in steps
//!       └─────── list, show ──► Shown: an event as text or JSON
//! ```

mod change;
mod list;
mod progress;
mod select;
mod shown;

use std::process::ExitCode;
use std::sync::Arc;

use pgherald_core::group::{Group, ParkedEvent};

use self::change::{Action, change};
use self::list::list;
use self::shown::{Shown, show};
use super::group::must_exist;
use crate::arguments::{DeadLetters, Parked};
use crate::database::Database;
use crate::failure::Failure;
use crate::output::Output;
use crate::words;

/// The number of events that are read at a time.
const PAGE: usize = 100;

/// Why an event was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The event waits for another attempt, or behind another event of the same row.
    Parked,
    /// The group gave up the event.
    Dead,
}

impl Kind {
    fn noun(self) -> &'static str {
        match self {
            Self::Parked => "parked event",
            Self::Dead => "dead letter",
        }
    }

    /// Returns the command for these events.
    fn command(self) -> &'static str {
        match self {
            Self::Parked => "pgherald parked",
            Self::Dead => "pgherald dead-letters",
        }
    }

    fn is(self, event: &ParkedEvent) -> bool {
        event.dead_at.is_some() == (self == Self::Dead)
    }

    async fn page(
        self,
        group: &Group<'_>,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Vec<ParkedEvent>, Failure> {
        Ok(match self {
            Self::Parked => group.parked(after, limit).await?,
            Self::Dead => group.dead_letters(after, limit).await?,
        })
    }

    /// Returns the failure for ids that are no such events of the group.
    fn missing(self, group: &str, ids: &[i64]) -> Failure {
        let noun = self.noun();
        let message = match ids {
            [id] => format!("{id} is not a {noun} of group {group:?}"),
            ids => format!("none of {} is a {noun} of group {group:?}", numbers(ids)),
        };
        Failure::problem(message).hint(self.listing(group))
    }

    /// Returns the command that lists these events of a group.
    fn listing(self, group: &str) -> String {
        format!("{} list {}", self.command(), words::option("group", group))
    }
}

pub(crate) async fn parked(
    database: &Database,
    output: &mut Output,
    arguments: &Parked,
) -> Result<ExitCode, Failure> {
    let client = Arc::new(database.client().await?);
    match arguments {
        Parked::List(of) => list(&client, output, Kind::Parked, of).await?,
        Parked::Show { group, id } => one(&client, output, Kind::Parked, group, *id).await?,
        Parked::Retry(selection) => change(&client, output, Action::RetryParked, selection).await?,
    }
    output.flush()?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn dead_letters(
    database: &Database,
    output: &mut Output,
    arguments: &DeadLetters,
) -> Result<ExitCode, Failure> {
    let client = Arc::new(database.client().await?);
    match arguments {
        DeadLetters::List(of) => list(&client, output, Kind::Dead, of).await?,
        DeadLetters::Show { group, id } => one(&client, output, Kind::Dead, group, *id).await?,
        DeadLetters::Retry(selection) => {
            change(&client, output, Action::RetryDead, selection).await?;
        }
        DeadLetters::Discard(selection) => {
            change(&client, output, Action::Discard, selection).await?;
        }
    }
    output.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Shows the event with this id.
async fn one(
    client: &Arc<tokio_postgres::Client>,
    output: &mut Output,
    kind: Kind,
    group: &str,
    id: i64,
) -> Result<(), Failure> {
    must_exist(client, group).await?;
    let event = Group::new(client, group).parked_event(id).await?;
    let event = event.filter(|event| kind.is(event));
    let event = event.ok_or_else(|| kind.missing(group, &[id]))?;
    Ok(show(output, &Shown::of(group, &event))?)
}

fn numbers(ids: &[i64]) -> String {
    let ids = ids.iter().map(ToString::to_string);
    ids.collect::<Vec<_>>().join(", ")
}
