//! The summary of an installation: the changes on each table, the locks, and the effects on live groups.

use std::collections::{BTreeMap, BTreeSet};

use pgherald_core::__private::host::trigger::TableChange;

use tokio_postgres::Client;

use crate::commands::group::state::has_outbox;
use crate::failure::Failure;
use crate::guarded::guarded;
use crate::words;

/// Returns a line for each table, and lines about the locks.
pub(super) fn lines(changes: &[TableChange]) -> Vec<String> {
    let mut lines: Vec<_> = changes.iter().map(line).collect();
    let locks = |readers: bool| {
        let its = changes
            .iter()
            .filter(|change| change.locks_readers == readers);
        let locked = its.flat_map(|change| &change.locked);
        locked.map(ToString::to_string).collect::<BTreeSet<_>>()
    };
    for (tables, effect) in [
        (locks(false), "writers wait, and readers do not"),
        (locks(true), "writers and readers wait"),
    ] {
        if !tables.is_empty() {
            let tables = Vec::from_iter(tables).join(", ");
            lines.push(format!("Locked for a moment ({effect}): {tables}."));
        }
    }
    lines
}

/// Describes the changes on one table.
fn line(change: &TableChange) -> String {
    let table = &change.table;
    if change.is_empty() {
        return format!("{table}: no changes.");
    }
    let lists = [
        ("adds", &change.added),
        ("replaces", &change.replaced),
        ("removes", &change.removed),
        ("keeps", &change.kept),
    ];
    let lists = lists.iter().filter(|(_, objects)| !objects.is_empty());
    let words: Vec<_> = lists
        .map(|(verb, objects)| format!("{verb} {}", counted(objects)))
        .collect();
    format!("{table}: {}.", words.join(", "))
}

/// Counts objects by kind: `4 triggers and 1 function`.
fn counted(objects: &[String]) -> String {
    let of = |kind: &str| {
        let number = objects
            .iter()
            .filter(|object| object.starts_with(kind))
            .count();
        (number > 0).then(|| words::count(number as u64, kind))
    };
    let counted = [of("trigger"), of("function")].into_iter().flatten();
    counted.collect::<Vec<_>>().join(" and ")
}

/// Describes the effects on groups that require the tables.
pub(super) async fn groups(
    client: &Client,
    changes: &[TableChange],
) -> Result<Vec<String>, Failure> {
    if changes.iter().all(TableChange::is_empty) || !has_outbox(client).await? {
        return Ok(Vec::new());
    }
    let (schemas, tables): (Vec<_>, Vec<_>) = changes
        .iter()
        .map(|change| (change.table.schema(), change.table.name()))
        .unzip();
    let queries = async {
        let sql = include_str!("../sql/requiring.sql");
        let rows = client.query(sql, &[&schemas, &tables]).await?;
        let rows = rows.iter().map(|row| {
            let place = usize::try_from(row.try_get::<_, i64>(0)?).unwrap_or(usize::MAX);
            Ok((place, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))
        });
        rows.collect::<Result<Vec<(usize, String, i64, bool)>, Failure>>()
    };
    let requiring = match guarded(client, queries).await {
        Ok(requiring) => requiring,
        // A role may install without the right to read the tables of groups.
        Err(failure) if failure.is_forbidden() => return Ok(Vec::new()),
        Err(failure) => return Err(failure),
    };
    let mut resyncs = BTreeMap::new();
    let mut notes = Vec::new();
    for (place, group, consumers, has_looked) in requiring {
        let Some(change) = changes.get(place) else {
            continue;
        };
        let unmet = change
            .unmet
            .iter()
            .find(|(required, _)| required.group == group);
        if let Some((_, lacks)) = unmet {
            let lacks = lacks.join(", ");
            notes.push(format!(
                "Group {group} requires {lacks} of {}: its consumers will not be live ({}).",
                change.table,
                running(consumers)
            ));
        } else if change.causes_resync && has_looked {
            resyncs.insert(group, consumers);
        }
    }
    for (group, consumers) in resyncs {
        let running = running(consumers);
        notes.push(format!(
            "Group {group} gets a resync, because triggers that it requires change ({running})."
        ));
    }
    Ok(notes)
}

fn running(consumers: i64) -> String {
    match consumers {
        0 => "no consumer runs".to_owned(),
        1 => "1 consumer runs".to_owned(),
        consumers => format!("{consumers} consumers run"),
    }
}
