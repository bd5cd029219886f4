//! Notices that the destination was deleted, created again or put back while slices have nothing to store.
//!
//! A slice with events is refused by the destination then, and reads its tip again. An idle slice would learn of it with its next event,
//! and readers, which lack messages, would wait until then. So the state of the destination is read every few seconds, once for all
//! slices of the node. The node forgets the slices whose last message cannot exist any more, and claims them again.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;

use super::slice::{Ended, State};
use super::{Commands, Destination, Ledger, Relays};
use crate::error::Result;
use crate::group::destination;
use crate::group::engine::command::Command;

/// How often the state of the destination is read.
const EVERY: Duration = Duration::from_secs(2);

/// The last message of a slice when the state was requested.
pub(in crate::group) struct Expected {
    slice: i32,
    epoch: i64,
    incarnation: Arc<str>,
    sequence: u64,
}

#[derive(Default)]
pub(super) struct Watch {
    requested_at: Option<Instant>,
    is_running: bool,
}

impl Watch {
    /// Returns when to read the state next, unless that is running.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        let next = self.requested_at.map_or(now, |at| at + EVERY);
        (!self.is_running).then_some(next)
    }
}

impl<D: Destination> Relays<D> {
    pub(super) fn watch(&mut self, now: Instant) {
        if self.watch.next(now).is_none_or(|next| next > now) {
            return;
        }
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
        if expected.is_empty() {
            return;
        }
        self.watch.is_running = true;
        let destination = Rc::clone(&self.destination);
        let state = async move { destination.state().await };
        let watched = state.map(|state| Ended::Watched { expected, state });
        self.running.push(watched.boxed_local());
    }

    pub(super) fn watched(
        &mut self,
        expected: &[Expected],
        state: Result<destination::State>,
        now: Instant,
        ledger: &mut Ledger,
        commands: &mut Commands,
    ) {
        self.watch.is_running = false;
        let state = match state {
            Ok(state) => state,
            Err(error) => return self.fail(error, commands),
        };
        self.recover(ledger, now);
        let is_gone =
            |one: &&Expected| one.incarnation != state.incarnation || one.sequence > state.sequence;
        let gone = expected
            .iter()
            .filter(is_gone)
            .filter(|one| ledger.slices.is_current(one.slice, one.epoch));
        let gone: Vec<i32> = gone.map(|one| one.slice).collect();
        if gone.is_empty() {
            return;
        }
        let group = &*self.options.group;
        tracing::warn!(
            group,
            slices = ?gone,
            "the destination was created again or put back to an earlier state; claiming the slices again"
        );
        for slice in gone {
            ledger.forget(slice);
        }
        commands.push(Command::TickSoon);
    }
}
