//! The node's membership of the group: its lease, its share of the slices, and when to tick.
//!
//! ```text
//!   not joined ── tick ──► member ── tick: another node has removed this one ──► not joined, under a new id
//!                            │ stop
//!                            └──► stopping: claims nothing, gives all slices back
//! ```
//!
//! Owns the lease. Decides which slices of the [ledger](Ledger) the node has. Pure: the caller passes the time, and sends the
//! requests.
//!
//! Guarantees:
//! - Attempts begin only during the lease, which is counted from before its renewal was sent.
//! - An id of a node is never used again after it was removed.
//! - A parked event that was settled does not return because a tick has read an outdated state of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::command::{Command, Commands, Ledger};
use crate::error::Result;
use crate::group::connections::TRIM;
use crate::group::leases::Leases;
use crate::group::options::DurableOptions;
use crate::group::slices::Slices;
use crate::group::store::ParkedEntry;
use crate::group::tick::{NodeState, Tick, TickResult};

/// The shortest pause between ticks that notifications and errors cause.
const SOON: Duration = Duration::from_millis(250);
/// How often the group's requirements are compared with what is installed; once per lease if that is shorter.
const CONFIRM: Duration = Duration::from_secs(10);

pub(super) struct Membership {
    options: Arc<DurableOptions>,
    node: i64,
    has_joined: bool,
    leases: Leases,
    /// Until then, no other node can claim the slices of this node.
    lease_until: Instant,
    is_paused: bool,
    /// The revision of the group up to which this node knows the changes of its parked events.
    revision: Option<i64>,
    stop_at: Option<Instant>,
    /// The number of parked events of slices that were given back since the stop.
    parked_at_stop: usize,
    times: Times,
}

/// When the next requests are due.
struct Times {
    next_tick: Instant,
    /// When the last tick began.
    ticked_at: Instant,
    next_confirmation: Instant,
    next_trim: Instant,
    /// Whether a failure to trim was logged since it last succeeded.
    has_warned: bool,
}

impl Membership {
    pub(super) fn new(options: Arc<DurableOptions>, now: Instant) -> Self {
        Self {
            times: Times::new(&options, now),
            options,
            node: new_node(),
            has_joined: false,
            leases: Leases::default(),
            lease_until: now,
            is_paused: false,
            revision: None,
            stop_at: None,
            parked_at_stop: 0,
        }
    }

    /// New connections: a tick is due.
    pub(super) fn connected(&mut self, now: Instant) {
        self.times = Times::new(&self.options, now);
    }

    /// Continues as a new node.
    pub(super) fn rejoin(&mut self) {
        (self.node, self.has_joined) = (new_node(), false);
    }

    pub(super) fn node(&self) -> i64 {
        self.node
    }

    /// Whether attempts may begin.
    pub(super) fn may_begin(&self, now: Instant) -> bool {
        self.may_read() && now < self.lease_until
    }

    pub(super) fn may_read(&self) -> bool {
        self.stop_at.is_none() && !self.is_paused
    }

    // Stopping.

    pub(super) fn stop(&mut self, at: Option<Instant>, slices: &mut Slices) {
        self.stop_at = at;
        slices.release(usize::MAX);
    }

    /// The deadline by which the node must have ended, if it is stopping.
    pub(super) fn stop_at(&self) -> Option<Instant> {
        self.stop_at
    }

    pub(super) fn released(&mut self, parked: usize) {
        if self.stop_at.is_some() {
            self.parked_at_stop += parked;
        }
    }

    pub(super) fn parked_at_stop(&self) -> usize {
        self.parked_at_stop
    }

    // Times.

    /// Returns when a request is due, unless its kind is running.
    pub(super) fn alarm(&self, is_ticking: bool, may_confirm: bool) -> Option<Instant> {
        let tick = (!is_ticking).then_some(self.times.next_tick);
        let confirmation = may_confirm.then_some(self.times.next_confirmation);
        tick.into_iter().chain(confirmation).min()
    }

    pub(super) fn tick_now(&mut self, now: Instant) {
        self.times.next_tick = now;
    }

    /// Schedules a tick after [`SOON`], so that repeated errors do not cause ticks without a pause.
    pub(super) fn tick_soon(&mut self, now: Instant) {
        self.times.next_tick = self.times.next_tick.min(now + SOON);
    }

    /// Schedules a tick after a notification. Any role can send one, so such ticks are at least [`SOON`] apart.
    pub(super) fn on_control(&mut self, now: Instant) {
        let soonest = (self.times.ticked_at + SOON).max(now);
        self.times.next_tick = self.times.next_tick.min(soonest);
    }

    /// Returns whether a comparison of the requirements is due, and schedules the next one.
    pub(super) fn is_confirmation_due(&mut self, now: Instant) -> bool {
        let is_due = self.times.next_confirmation <= now;
        if is_due {
            self.times.next_confirmation = now + self.options.lease.min(CONFIRM);
        }
        is_due
    }

    /// Returns the state to tick with if a tick is due, and schedules the next one.
    pub(super) fn due_tick(&mut self, now: Instant, slices: &Slices) -> Option<NodeState> {
        if self.times.next_tick > now {
            return None;
        }
        (self.times.ticked_at, self.times.next_tick) = (now, now + self.options.lease / 3);
        Some(NodeState {
            node: self.node,
            has_joined: self.has_joined,
            is_stopping: self.stop_at.is_some(),
            owned: slices.epochs().collect(),
            expired: self.leases.expired(now),
            revision: self.revision,
            destination: None,
        })
    }

    /// Returns whether trimming is due, and schedules the next one. Called after a tick was sent: the next renewal, after one
    /// third of the lease, waits behind it, and two thirds of the lease are then left.
    pub(super) fn is_trim_due(&mut self, now: Instant) -> bool {
        let is_due = self.times.next_trim <= now;
        if is_due {
            self.times.next_trim = now + TRIM;
        }
        is_due
    }

    pub(super) fn trimmed(&mut self, trimmed: Result<u32>) {
        match trimmed {
            Ok(parts) => {
                self.times.has_warned = false;
                if parts > 0 {
                    tracing::debug!(parts, "outbox trimmed");
                }
            }
            // Another consumer may trim: its role may have the right, or its call may finish in time.
            Err(error) if !std::mem::replace(&mut self.times.has_warned, true) => {
                tracing::warn!(error = %error.chain(),
                    "the outbox cannot be trimmed; it grows unless another consumer trims it");
            }
            Err(_) => {}
        }
    }

    // Answers.

    /// Handles the answer to a tick. `was_settled` returns whether a parked event was settled meanwhile.
    pub(super) fn ticked(
        &mut self,
        tick: Tick,
        now: Instant,
        was_settled: impl Fn(i64) -> bool,
        ledger: &mut Ledger,
        commands: &mut Commands,
    ) {
        match tick {
            Tick::Renewed(found) => self.renewed(&found, now, was_settled, ledger, commands),
            Tick::Removed => {
                let group = &*self.options.group;
                tracing::warn!(
                    group,
                    "the lease has expired and all slices are lost; joining again"
                );
                for slice in ledger.slices.numbers() {
                    ledger.forget(slice);
                }
                self.rejoin();
                self.tick_now(now);
            }
        }
    }

    fn renewed(
        &mut self,
        found: &TickResult,
        now: Instant,
        was_settled: impl Fn(i64) -> bool,
        ledger: &mut Ledger,
        commands: &mut Commands,
    ) {
        let group = &*self.options.group;
        self.leases.record(now, &found.state.nodes);
        commands.push(Command::Live);
        if !std::mem::replace(&mut self.has_joined, true) {
            // The other nodes have more than their share now.
            commands.push(Command::NotifyOthers);
        }
        self.lease_until = found.began + self.options.lease;
        self.is_paused = found.state.is_paused;
        let lost = ledger.slices.epochs();
        let lost = lost.filter(|ours| !found.state.owned.contains(ours));
        let lost: Vec<i32> = lost.map(|(slice, _)| slice).collect();
        for slice in lost {
            tracing::info!(group, slice, "slice lost to another consumer or a seek");
            ledger.forget(slice);
        }
        let of = found.state.slices;
        for claimed in &found.claimed {
            ledger.forget(claimed.slice);
            ledger.slices.claimed(of, claimed);
        }
        let claimed: Vec<i32> = found.claimed.iter().map(|one| one.slice).collect();
        let has_passed_over = find_parked(&found.parked, &claimed, was_settled, ledger);
        // Otherwise the next tick reads the changed events again.
        if !has_passed_over {
            self.revision = Some(found.state.revision);
        }
        match self.stop_at {
            Some(_) => ledger.slices.release(usize::MAX),
            None => {
                let excess = ledger.slices.kept().saturating_sub(found.share);
                ledger.slices.release(excess);
            }
        }
        commands.extend([Command::Write, Command::Read]);
    }
}

/// Adds the parked events that a tick has found. Returns whether it passed over some: an event that this node does not know may
/// have been settled meanwhile, and must not return.
fn find_parked(
    found: &[ParkedEntry],
    claimed: &[i32],
    was_settled: impl Fn(i64) -> bool,
    ledger: &mut Ledger,
) -> bool {
    let mut has_passed_over = false;
    for event in found {
        let (row, id, slice) = (&event.row, event.id, event.slice);
        let is_new = !claimed.contains(&slice) && !ledger.parked.is_known(row, id);
        match is_new && was_settled(id) {
            true => has_passed_over = true,
            false => ledger.parked.found(row, slice, id, event.due),
        }
    }
    has_passed_over
}

impl Times {
    fn new(options: &DurableOptions, now: Instant) -> Self {
        Self {
            next_tick: now,
            ticked_at: now,
            next_confirmation: now + options.lease.min(CONFIRM),
            next_trim: now + TRIM,
            has_warned: false,
        }
    }
}

/// Returns a random id. Ids of nodes are never reused.
fn new_node() -> i64 {
    fastrand::i64(1..)
}
