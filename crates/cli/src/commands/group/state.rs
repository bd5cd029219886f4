//! The state of groups: their requirements, lag and consumers.

use pgherald_core::__private::host::group::nodes;
use pgherald_core::__private::host::trigger::Actual;
use pgherald_core::group::Group;
use pgherald_core::trigger::{Drift, TriggerSpec};
use serde::Serialize;
use tokio_postgres::Client;

use crate::commands::group_health::state;
use crate::failure::Failure;

/// The requirement of a group on a table.
#[derive(Debug, Serialize)]
pub(in crate::commands) struct Required {
    pub(in crate::commands) group: String,
    /// In the format of `pgherald install --from`.
    pub(in crate::commands) specification: TriggerSpec,
    /// Why this requirement keeps the group's consumers from being live, if it does.
    pub(in crate::commands) unmet: Option<String>,
}

#[derive(Debug, Serialize)]
pub(in crate::commands) struct GroupState {
    pub(in crate::commands) group: String,
    /// The problems of the group, or `up to date`.
    pub(in crate::commands) state: String,
    pub(in crate::commands) is_paused: bool,
    pub(in crate::commands) lag_events: i64,
    pub(in crate::commands) lag_is_estimate: bool,
    pub(in crate::commands) lag_seconds: f64,
    pub(in crate::commands) slices: i32,
    /// Events that wait for another attempt, or behind such an event of the same row.
    pub(in crate::commands) parked: i64,
    /// The number of rows with parked events.
    pub(in crate::commands) parked_keys: i64,
    /// Parked events that have failed.
    pub(in crate::commands) failing: i64,
    /// Failing events that were parked within the last five minutes.
    pub(in crate::commands) failing_recently: i64,
    pub(in crate::commands) oldest_failing_seconds: Option<f64>,
    pub(in crate::commands) dead_letters: i64,
    /// Dead letters that were given up within the last five minutes.
    pub(in crate::commands) dead_recently: i64,
    pub(in crate::commands) last_error: Option<String>,
    /// For a relay: where it stores events.
    pub(in crate::commands) destination: Option<String>,
    /// For a relay: why it stores nothing at present.
    pub(in crate::commands) destination_error: Option<String>,
    /// For a relay whose destination refuses events when it is full: the share of the limits that is in use.
    pub(in crate::commands) destination_usage: Option<f64>,
    pub(in crate::commands) nodes: Vec<Node>,
}

#[derive(Debug, Serialize)]
pub(in crate::commands) struct Node {
    pub(in crate::commands) id: i64,
    pub(in crate::commands) description: String,
    /// The remaining time. Negative if the lease has expired and no other consumer has deleted the node yet.
    pub(in crate::commands) lease_seconds: f64,
    pub(in crate::commands) slices: i64,
}

/// Returns the requirements of all groups, as far as this role may read them.
pub(in crate::commands) fn requirements(actual: &Actual) -> Vec<Required> {
    let required = actual.requirements().iter().map(|required| {
        let mut drifts = actual.verify(&required.spec).into_iter();
        Required {
            group: required.group.clone(),
            specification: required.spec.clone(),
            unmet: drifts
                .find(Drift::loses_changes)
                .map(|drift| described(&drift)),
        }
    });
    required.collect()
}

/// Returns the problem and the remedy of a drift. The table is shown in a column of its own.
pub(in crate::commands) fn described(drift: &Drift) -> String {
    let remedy = drift.remedy().map(|remedy| format!("; {remedy}"));
    drift.problem() + &remedy.unwrap_or_default()
}

/// Returns the states of all groups, ordered by name.
pub(in crate::commands) async fn groups(client: &Client) -> Result<Vec<GroupState>, Failure> {
    let mut nodes = nodes(client).await?;
    let parked = client
        .query(include_str!("../sql/parked_keys.sql"), &[])
        .await?;
    let mut groups = Vec::new();
    for status in Group::all(client).await? {
        let mut group = GroupState {
            state: state(&status),
            is_paused: status.is_paused,
            lag_events: status.lag_events,
            lag_is_estimate: status.lag_is_estimate,
            lag_seconds: status.lag.as_secs_f64(),
            slices: status.slices,
            parked: status.parked,
            parked_keys: 0,
            failing: status.failing,
            failing_recently: status.failing_recently,
            oldest_failing_seconds: status.oldest_failing.map(|oldest| oldest.as_secs_f64()),
            dead_letters: status.dead_letters,
            dead_recently: status.dead_recently,
            last_error: status.last_error,
            destination: status.destination,
            destination_error: status.destination_error,
            destination_usage: status.destination_usage,
            nodes: Vec::new(),
            group: status.name,
        };
        for row in &parked {
            if row.try_get::<_, &str>(0)? == group.group {
                group.parked_keys = row.try_get(1)?;
            }
        }
        for node in nodes.extract_if(.., |node| node.group == group.group) {
            group.nodes.push(Node {
                id: node.id,
                description: node.description,
                lease_seconds: node.lease_seconds,
                slices: node.slices,
            });
        }
        groups.push(group);
    }
    Ok(groups)
}

/// Whether this database has an outbox. Without one, there are no groups.
pub(in crate::commands) async fn has_outbox(client: &Client) -> Result<bool, Failure> {
    // The catalog can be read without the right to use schema pgherald.
    let sql =
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n
        ON n.oid OPERATOR(pg_catalog.=) c.relnamespace WHERE n.nspname OPERATOR(pg_catalog.=) 'pgherald'
        AND c.relname OPERATOR(pg_catalog.=) 'outbox_retention')";
    Ok(client.query_one(sql, &[]).await?.try_get(0)?)
}
