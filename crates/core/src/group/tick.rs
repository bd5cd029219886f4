//! A look at how the group stands: the lease is renewed, nodes that gave no sign of life are deleted, slices are claimed.

use std::sync::Arc;

use tokio::time::Instant;
use tokio_postgres::Client;

use super::leases::Lease;
use super::options::Durable;
use super::store::{self, ParkedEvent, Standing};
use crate::error::Result;
use crate::outbox::Cursor;

/// What a node knows when it looks.
#[derive(Debug)]
pub(super) struct Before {
    pub(super) node: i64,
    /// It has a lease, as far as it knows.
    pub(super) has_joined: bool,
    /// It takes no more slices.
    pub(super) is_stopping: bool,
    /// The slices it has, and their epochs.
    pub(super) owned: Vec<(i32, i64)>,
    /// Leases that have expired by this node's own clock.
    pub(super) over: Vec<Lease>,
    pub(super) revision: Option<i64>,
}

/// What it finds.
#[derive(Debug)]
pub(super) enum Tick {
    /// The lease was over, and somebody has noticed: everything is lost.
    Expelled,
    Standing(Found),
}

#[derive(Debug)]
pub(super) struct Found {
    /// When the look began: from then on the lease is counted.
    pub(super) began: Instant,
    pub(super) standing: Standing,
    /// How many slices this node is to have.
    pub(super) share: usize,
    /// Slices that it has from now on.
    pub(super) claimed: Vec<(i32, i64, Cursor)>,
    /// What is parked of those; of all slices, if somebody has changed that.
    pub(super) parked: Vec<ParkedEvent>,
    pub(super) has_all_parked: bool,
}

pub(super) async fn tick(client: Arc<Client>, terms: &Durable, before: Before) -> Result<Tick> {
    let began = Instant::now();
    let (group, node) = (&*terms.group, before.node);
    if !before.has_joined {
        store::join(&client, terms, node).await?;
    } else if !store::renew(&client, terms, node).await? {
        return Ok(Tick::Expelled);
    }
    let expelled = store::expel(&client, group, &before.over).await?;
    if expelled > 0 {
        tracing::warn!(
            group,
            expelled,
            "consumers gave no sign of life; their slices are free"
        );
    }
    let standing = store::standing(&client, group, node).await?;
    let slices = usize::try_from(standing.slices).unwrap_or_default();
    let nodes = standing.nodes.len().max(1);
    let before_this = standing.nodes.iter().filter(|lease| lease.node < node);
    let rank = before_this.count();
    let share = slices / nodes + usize::from(rank < slices % nodes);
    let is_ours = |owned: &&(i32, i64)| standing.owned.contains(owned);
    let known: Vec<i32> = before
        .owned
        .iter()
        .filter(is_ours)
        .map(|(slice, _)| *slice)
        .collect();
    // Its own that it does not know of are taken in any case: only who has a slice can give it back.
    let unknown = standing.owned.len() - known.len();
    let missing = share.saturating_sub(known.len()).max(unknown);
    let claimed = match missing {
        _ if before.is_stopping => Vec::new(),
        0 => Vec::new(),
        missing => store::claim(&client, group, node, missing, &known).await?,
    };
    let has_all_parked = before.revision != Some(standing.revision);
    let mut of: Vec<i32> = claimed.iter().map(|(slice, ..)| *slice).collect();
    if has_all_parked {
        of.extend(known);
    }
    let parked = match of.is_empty() {
        true => Vec::new(),
        false => store::parked_of(&client, group, &of).await?,
    };
    Ok(Tick::Standing(Found {
        began,
        standing,
        share,
        claimed,
        parked,
        has_all_parked,
    }))
}
