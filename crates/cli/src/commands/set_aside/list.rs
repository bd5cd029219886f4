//! Lists events that were set aside.

use std::sync::Arc;

use pgherald_core::group::Group;
use tokio_postgres::Client;

use super::shown::Shown;
use super::{Kind, PAGE};
use crate::arguments::List;
use crate::commands::group::{must_exist, names};
use crate::failure::Failure;
use crate::output::Output;
use crate::words;

/// How much of an error stands in a list.
const SHORT: usize = 80;

impl Kind {
    /// The heading of the column with a time.
    fn since(self) -> &'static str {
        match self {
            Self::Parked => "DUE",
            Self::Dead => "DEAD SINCE",
        }
    }
}

/// Lists the events of one group or of all groups.
pub(super) async fn list(
    client: &Arc<Client>,
    output: &mut Output,
    kind: Kind,
    of: &List,
) -> Result<(), Failure> {
    let groups = match &of.group {
        Some(name) => {
            must_exist(client, name).await?;
            vec![name.clone()]
        }
        None => names(client).await?,
    };
    let mut rows = Vec::new();
    let mut incomplete = Vec::new();
    for name in &groups {
        let group = Group::new(client, name);
        let (mut left, mut last) = (of.limit, None);
        loop {
            // One more than is shown: it shows whether there are more.
            let some = left.min(PAGE);
            let letters = kind.page(&group, last, some + 1).await?;
            for letter in letters.iter().take(some) {
                last = Some(letter.id);
                let letter = Shown::of(name, letter);
                match output.is_json() {
                    true => output.object(&letter)?,
                    false => rows.push(row(letter)),
                }
            }
            left -= some;
            if letters.len() <= some {
                break;
            }
            if left == 0 {
                incomplete.push(name.as_str());
                break;
            }
        }
    }
    if output.is_json() {
        return Ok(());
    }
    if !rows.is_empty() {
        let headings = ["GROUP", "ID", "EVENT", "ATTEMPTS", kind.since(), "ERROR"];
        output.table(&headings, &rows)?;
    } else if incomplete.is_empty() {
        output.line(&format!("There are no {}s.", kind.noun()))?;
    }
    for name in incomplete {
        output.line(&format!("There are more of {name}: raise --limit."))?;
    }
    Ok(())
}

fn row(event: Shown<'_>) -> Vec<String> {
    vec![
        event.group.to_owned(),
        event.id.to_string(),
        event.event,
        event.attempts.to_string(),
        event.dead_at.or(event.due).unwrap_or_default(),
        words::shortened_error(&event.error.unwrap_or_default(), SHORT),
    ]
}
