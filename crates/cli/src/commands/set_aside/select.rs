//! Selects the events that a command changes.

use std::sync::Arc;

use pgherald_core::__private::host;
use pgherald_core::TableName;
use pgherald_core::group::Group;
use tokio_postgres::{Client, Row};

use super::{Kind, PAGE, numbers};
use crate::arguments::Selection;
use crate::failure::Failure;
use crate::guarded::guarded;
use crate::keys::meets;
use crate::tables::find;

/// The selected events of a group.
#[derive(Debug)]
pub(super) struct Selected {
    /// The ids of the events, in ascending order.
    pub(super) ids: Vec<i64>,
    /// The number of parked events among them that wait behind an earlier event of the same row.
    pub(super) behind: usize,
    /// Ids in the arguments that are no such events, in ascending order.
    pub(super) not_found: Vec<i64>,
}

/// Finds the events that `selection` selects. Fails if there are none, unless it selects all events of the group.
pub(super) async fn select(
    client: &Arc<Client>,
    kind: Kind,
    selection: &Selection,
) -> Result<Selected, Failure> {
    let Selection {
        group,
        ids,
        all,
        table,
        conditions,
    } = selection;
    let table = match table {
        Some(typed) => Some(table_of(client, typed).await?),
        None => None,
    };
    let of_table = table
        .as_ref()
        .map(|table| (table.schema(), table.name()))
        .unzip();
    let is_dead = kind == Kind::Dead;
    let by_id = (!all && table.is_none()).then_some(&**ids);
    let sql = include_str!("../sql/set_aside.sql");
    let queries = async {
        let rows = client
            .query(sql, &[group, &is_dead, &by_id, &of_table.0, &of_table.1])
            .await?;
        let found = rows
            .iter()
            .map(|row: &Row| Ok((row.try_get(0)?, row.try_get(1)?)));
        found.collect::<Result<Vec<(i64, bool)>, Failure>>()
    };
    let mut found = guarded(client, queries).await?;
    if !conditions.is_empty() {
        let of_row = of_row(client, kind, selection, &found).await?;
        found.retain(|(id, _)| of_row.binary_search(id).is_ok());
    }
    let mut not_found = ids.clone();
    not_found.retain(|id| found.binary_search_by_key(id, |(id, _)| *id).is_err());
    not_found.sort_unstable();
    not_found.dedup();
    match (&table, found.is_empty()) {
        (_, false) => {}
        (None, true) if *all => {}
        (None, true) => return Err(kind.missing(group, &not_found)),
        (Some(table), true) => {
            let of_row = if conditions.is_empty() {
                ""
            } else {
                ", of a row with this key"
            };
            let message = format!(
                "group {group:?} has no {} of table {table}{of_row}",
                kind.noun()
            );
            return Err(Failure::problem(message).hint(kind.listing(group)));
        }
    }
    Ok(Selected {
        behind: found.iter().filter(|(_, is_behind)| *is_behind).count(),
        ids: found.into_iter().map(|(id, _)| id).collect(),
        not_found,
    })
}

/// Returns the table that `typed` names. The table may have been dropped while its events still exist.
async fn table_of(client: &Client, typed: &str) -> Result<TableName, Failure> {
    let watched = host::trigger::inspect_all(client, &[]).await?.watched();
    let found = find(client, &[typed.to_owned()], &watched).await?;
    let found = found.into_iter().next().map(|named| named.table);
    found.ok_or_else(|| Failure::usage(format!("{typed:?} names no table")))
}

/// Returns the ids among `found` whose events have the selected key, in ascending order.
async fn of_row(
    client: &Arc<Client>,
    kind: Kind,
    selection: &Selection,
    found: &[(i64, bool)],
) -> Result<Vec<i64>, Failure> {
    let group = Group::new(client, &selection.group);
    let mut ids = Vec::new();
    // Start with the first id.
    let mut after = found.first().map(|(id, _)| id.saturating_sub(1));
    let last = found.last().map(|(id, _)| *id);
    while after < last {
        let page = kind.page(&group, after, PAGE).await?;
        let Some(end) = page.last() else {
            break;
        };
        after = Some(end.id);
        let of_row = page.iter().filter(|one| {
            let event = one.event.as_ref();
            event.and_then(|event| meets(event, &selection.conditions)) == Some(true)
        });
        ids.extend(of_row.map(|one| one.id));
    }
    Ok(ids)
}

/// Returns the message about ids in the arguments that are no such events.
pub(super) fn not_found(kind: Kind, ids: &[i64]) -> Option<String> {
    let noun = match kind {
        Kind::Parked => "Not parked",
        Kind::Dead => "Not dead letters",
    };
    (!ids.is_empty()).then(|| format!("{noun}: {}.", numbers(ids)))
}
