//! The state of the node's slices, as a relay reports it to the destination.

use std::collections::HashSet;
use std::sync::Arc;

use super::slice::{Relay, State};
use super::{Ledger, Relays};
use crate::group::destination::SliceState;

impl<D> Relays<D> {
    /// Returns the slices whose position is known.
    pub(super) fn states(&self, ledger: &Ledger) -> Vec<SliceState> {
        let parked: HashSet<i32> = ledger.parked.slices().collect();
        let is_open = |relay: &Relay| !matches!(relay.state, State::Opening | State::Unopened(_));
        let known = self.slices.iter().filter(|(slice, relay)| {
            (is_open(relay) || relay.is_contended) && ledger.slices.is_current(**slice, relay.epoch)
        });
        let state = |(slice, relay): (&i32, &Relay)| {
            // Until its resync is stored, a slice lacks changes. Parked events, such as resyncs, are before the cursor although
            // they are not stored.
            let is_complete = is_open(relay) && relay.is_announced && !parked.contains(slice);
            let complete_until = ledger.slices.complete_until(*slice);
            SliceState {
                slice: (*slice, ledger.slices.of()),
                epoch: relay.epoch,
                incarnation: Arc::clone(&relay.incarnation),
                sequence: relay.sequence,
                complete_until: complete_until.filter(|_| is_complete),
                is_contended: relay.is_contended,
                period: Arc::clone(&relay.period),
            }
        };
        known.map(state).collect()
    }
}
