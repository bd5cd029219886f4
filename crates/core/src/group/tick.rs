//! The periodic tick of a node: it renews the lease, deletes nodes with expired leases, and claims free slices.

use std::sync::Arc;

use tokio::time::Instant;
use tokio_postgres::Client;

use super::destination::Condition;
use super::leases::Lease;
use super::options::DurableOptions;
use super::store::{self, Claimed, GroupState, ParkedEntry, Which};
use crate::error::Result;

/// The state of a node when a tick begins.
#[derive(Debug)]
pub(super) struct NodeState {
    pub(super) node: i64,
    /// Whether the node has a lease, as far as it knows.
    pub(super) has_joined: bool,
    /// Whether the node claims no more slices, because it stops.
    pub(super) is_stopping: bool,
    /// The node's slices and their epochs.
    pub(super) owned: Vec<(i32, i64)>,
    /// Leases that have expired by this node's own clock.
    pub(super) expired: Vec<Lease>,
    /// The revision of the group up to which the node knows the changes of its parked events.
    pub(super) revision: Option<i64>,
    /// For relays: the state of the destination.
    pub(super) destination: Option<Condition>,
}

/// The result of a tick.
#[derive(Debug)]
pub(super) enum Tick {
    /// Another node has deleted this one, because its lease had expired. All its slices are lost.
    Removed,
    Renewed(TickResult),
}

#[derive(Debug)]
pub(super) struct TickResult {
    /// When the tick began. The lease is counted from then on.
    pub(super) began: Instant,
    pub(super) state: GroupState,
    /// The number of slices that this node should have.
    pub(super) share: usize,
    /// Slices that the tick has claimed.
    pub(super) claimed: Vec<Claimed>,
    /// Parked events of the claimed slices. If the group's revision has changed, also those of the other slices that were made due
    /// at once: this node has parked all other ones itself, or read them when it claimed the slice.
    pub(super) parked: Vec<ParkedEntry>,
}

pub(super) async fn tick(
    client: Arc<Client>,
    options: &DurableOptions,
    node: NodeState,
) -> Result<Tick> {
    let began = Instant::now();
    let (group, number) = (&*options.group, node.node);
    if !node.has_joined {
        store::join(&client, options, number).await?;
    } else if !store::renew(
        &client,
        options,
        number,
        &node.destination.unwrap_or_default(),
    )
    .await?
    {
        return Ok(Tick::Removed);
    }
    let removed = store::remove_expired(&client, group, &node.expired).await?;
    if removed > 0 {
        tracing::warn!(
            group,
            removed,
            "removed consumers whose lease has expired; their slices are free"
        );
    }
    let state = store::group_state(&client, group, number).await?;
    let slices = usize::try_from(state.slices).unwrap_or_default();
    let nodes = state.nodes.len().max(1);
    let before_this = state.nodes.iter().filter(|lease| lease.node < number);
    let rank = before_this.count();
    let share = slices / nodes + usize::from(rank < slices % nodes);
    let is_ours = |owned: &&(i32, i64)| state.owned.contains(owned);
    let known: Vec<i32> = node
        .owned
        .iter()
        .filter(is_ours)
        .map(|(slice, _)| *slice)
        .collect();
    // Claim slices that the database assigns to this node, but the node does not know, beyond the share too: only the owner of a
    // slice can give it back.
    let unknown = state.owned.len() - known.len();
    let missing = share.saturating_sub(known.len()).max(unknown);
    let claimed = match missing {
        _ if node.is_stopping => Vec::new(),
        0 => Vec::new(),
        missing => store::claim(&client, group, number, missing, &known).await?,
    };
    let of: Vec<i32> = claimed.iter().map(|one| one.slice).collect();
    let mut parked = store::parked_of(&client, group, &of, Which::All).await?;
    if node.revision != Some(state.revision) {
        parked.extend(store::parked_of(&client, group, &known, Which::DueAtOnce).await?);
    }
    Ok(Tick::Renewed(TickResult {
        began,
        state,
        share,
        claimed,
        parked,
    }))
}
