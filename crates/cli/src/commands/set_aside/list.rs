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

/// The maximum length of an error in a list.
const SHORT: usize = 80;

impl Kind {
    /// Returns the heading of the column with the time.
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
            // One event more than is shown, to find out whether there are more.
            let size = left.min(PAGE);
            let events = kind.page(&group, last, size + 1).await?;
            for event in events.iter().take(size) {
                last = Some(event.id);
                let shown = Shown::of(name, event);
                match output.is_json() {
                    true => output.object(&shown)?,
                    false => rows.push(row(shown)),
                }
            }
            left -= size;
            if events.len() <= size {
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
