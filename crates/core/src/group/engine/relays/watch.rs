//! Detects that the destination was deleted, created again or restored while slices have nothing to store.
//!
//! If a slice has events, the destination refuses its next batch, and the slice reads its tip again. An idle slice would detect the
//! loss only with its next event, and readers would lack messages until then. So the node reads the state of the destination every
//! two seconds, once for all of its slices. It forgets the slices whose last message can no longer exist, and claims them again.
//!
//! The state does not show that messages were deleted, nor a loss after which the destination has grown again. So the node also
//! reads the last messages of up to eight idle slices each time, in turn.
//!
//! A node also reads the state while the group is paused, and if it has no slices: it is live only if it can use the destination.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;

use super::slice::{Ended, State};
use super::{Commands, Destination, Ledger, Relays};
use crate::error::Result;
use crate::group::destination::{self, Last};
use crate::group::engine::command::Command;

/// How often the state of the destination is read.
const EVERY: Duration = Duration::from_secs(2);

/// The maximum number of slices whose last messages are read each time.
const TIPS: usize = 8;

/// The last message of a slice when the state was requested.
#[derive(Clone)]
pub(in crate::group) struct Expected {
    slice: i32,
    epoch: i64,
    incarnation: Arc<str>,
    sequence: u64,
}

/// The state of the destination, and the last messages of some slices.
pub(in crate::group) struct Found {
    state: destination::State,
    /// The slices whose last messages were read, with these messages.
    tips: Vec<(Expected, Last)>,
}

impl Expected {
    /// Whether the message can no longer exist. Limits may delete it, unlike a purge.
    fn is_gone(&self, state: &destination::State) -> bool {
        let was_removed = !state.is_limited && self.sequence > 0 && self.sequence < state.first;
        self.incarnation != state.incarnation || self.sequence > state.sequence || was_removed
    }

    /// Whether the slice has another last message, or none although limits cannot have deleted it.
    fn is_other(&self, last: &Last, state: &destination::State) -> bool {
        match &last.message {
            Some(message) => message.sequence != self.sequence,
            None => !state.is_limited || self.sequence >= state.first,
        }
    }
}

#[derive(Default)]
pub(super) struct Watch {
    requested_at: Option<Instant>,
    is_running: bool,
    /// Whether the state was read. Before that, it is unknown whether the destination can be used, and the node is not live.
    pub(super) has_read: bool,
    /// [`destination::State::usage`] when the state was last read.
    pub(super) usage: Option<f64>,
    /// The slice whose last message was read last.
    tip: Option<i32>,
}

impl Watch {
    /// Returns when to read the state next. `None` while a read is in progress.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        let next = self.requested_at.map_or(now, |at| at + EVERY);
        (!self.is_running).then_some(next)
    }
}

impl<D: Destination> Relays<D> {
    /// Begins to read the state.
    pub(super) fn look(&mut self, now: Instant) {
        let is_open = |state| !matches!(state, State::Opening | State::Unopened(_));
        let opened = self.slices.iter().filter(|(_, relay)| is_open(relay.state));
        let expected = opened.map(|(slice, relay)| Expected {
            slice: *slice,
            epoch: relay.epoch,
            incarnation: Arc::clone(&relay.incarnation),
            sequence: relay.sequence,
        });
        let expected: Vec<Expected> = expected.collect();
        self.watch.requested_at = Some(now);
        self.watch.is_running = true;
        let tips = self.next_tips(&expected);
        let found = find(Rc::clone(&self.destination), tips);
        let watched = found.map(|found| Ended::Watched { expected, found });
        self.running.push(watched.boxed_local());
    }

    /// Chooses the slices whose last messages are read.
    fn next_tips(&mut self, expected: &[Expected]) -> Vec<Expected> {
        let after = |one: &&Expected| self.watch.tip.is_none_or(|tip| one.slice > tip);
        let (later, earlier): (Vec<_>, Vec<_>) = expected.iter().partition(after);
        let in_turn = later.into_iter().chain(earlier);
        let is_idle = |one: &&Expected| one.sequence > 0 && self.is_unchanged(one);
        let tips: Vec<Expected> = in_turn.filter(is_idle).take(TIPS).cloned().collect();
        self.watch.tip = tips.last().map(|one| one.slice);
        tips
    }

    /// Whether the slice has stored no message since, and has no batch in flight.
    fn is_unchanged(&self, expected: &Expected) -> bool {
        self.slices.get(&expected.slice).is_some_and(|relay| {
            relay.state == State::Idle
                && (relay.epoch, relay.sequence) == (expected.epoch, expected.sequence)
        })
    }

    pub(super) fn watched(
        &mut self,
        expected: &[Expected],
        found: Result<Found>,
        now: Instant,
        ledger: &mut Ledger,
        commands: &mut Commands,
    ) {
        self.watch.is_running = false;
        let Found { state, tips } = match found {
            Ok(found) => found,
            Err(error) => return self.fail(error, commands),
        };
        self.watch.usage = state.usage;
        if !std::mem::replace(&mut self.watch.has_read, true) {
            // The node becomes live with the next renewal of its lease.
            commands.push(Command::TickNow);
        }
        self.recover(ledger, now);
        let others = tips
            .iter()
            .filter(|(one, last)| self.is_unchanged(one) && one.is_other(last, &state))
            .map(|(one, _)| one);
        let gone = expected
            .iter()
            .filter(|one| one.is_gone(&state))
            .chain(others.filter(|one| !one.is_gone(&state)))
            .filter(|one| ledger.slices.is_current(one.slice, one.epoch));
        let gone: Vec<i32> = gone.map(|one| one.slice).collect();
        if gone.is_empty() {
            return;
        }
        let group = &*self.options.group;
        tracing::warn!(
            group,
            slices = ?gone,
            "the destination has lost messages: it was created again, restored to an earlier state, or purged; claiming the slices again"
        );
        for slice in gone {
            ledger.forget(slice);
        }
        commands.push(Command::TickSoon);
    }
}

/// Reads the last messages, and then the state. In this order, a message that limits have deleted meanwhile is before the first
/// message of the state.
async fn find(destination: Rc<impl Destination>, expected: Vec<Expected>) -> Result<Found> {
    let mut tips = Vec::new();
    for one in expected {
        let last = destination.last(one.slice).await?;
        tips.push((one, last));
    }
    let state = destination.state().await?;
    Ok(Found { state, tips })
}

#[cfg(test)]
mod tests {
    use super::{Expected, destination};

    #[test]
    fn purge_of_a_stream_without_limits_is_noticed_for_all_slices_at_once() {
        let state = |first, is_limited| destination::State {
            incarnation: "A".into(),
            sequence: 20,
            usage: None,
            first,
            is_limited,
        };
        let is_gone = |sequence, state| {
            let expected = Expected {
                slice: 0,
                epoch: 1,
                incarnation: "A".into(),
                sequence,
            };
            expected.is_gone(&state)
        };
        assert!(!is_gone(10, state(1, false)) && !is_gone(10, state(10, false)));
        assert!(is_gone(10, state(21, false)));
        assert!(!is_gone(0, state(21, false)), "nothing was stored");
        assert!(!is_gone(10, state(21, true)), "limits may have deleted it");
        assert!(is_gone(21, state(21, true)));
    }
}
