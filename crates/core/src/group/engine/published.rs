//! What the engine publishes: health, report and gauges.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::acknowledger::Acknowledger;
use super::command::Ledger;
use super::membership::Membership;
use crate::error::Error;
use crate::group::handle::Shared;
use crate::signal::Health;
use crate::telemetry::{
    CONSUMERS, CONSUMERS_LIVE, GROUP_HELD_UP_SLICES, GROUP_PARKED_ROWS, GROUP_SLICES, Level,
};

pub(super) struct Published {
    group: Arc<str>,
    shared: Arc<Shared>,
    consumers: Level,
    live: Level,
    slices: Level,
    parked_rows: Level,
    held_up: Level,
}

impl Published {
    pub(super) fn new(group: Arc<str>, shared: Arc<Shared>) -> Self {
        let level = |name| Level::new(name, &[("group", &group)]);
        Self {
            consumers: level(CONSUMERS),
            live: level(CONSUMERS_LIVE),
            slices: level(GROUP_SLICES),
            parked_rows: level(GROUP_PARKED_ROWS),
            held_up: level(GROUP_HELD_UP_SLICES),
            group,
            shared,
        }
    }

    /// The node has renewed its lease.
    pub(super) fn live(&self, node: i64) {
        if !self.is_live() {
            let group = &*self.group;
            tracing::info!(group, node, "consumer live");
            let since = SystemTime::now();
            self.shared.health.send_replace(Health::Live { since });
        }
    }

    fn is_live(&self) -> bool {
        self.shared.health.borrow().is_live()
    }

    /// The connections are lost, and are opened again after `delay`. Warns once for each outage, as listeners do.
    pub(super) fn lost(&self, error: &Error, delay: Duration) {
        let group = &*self.group;
        let (chain, hint) = (error.chain(), error.hint());
        match &*self.shared.health.borrow() {
            Health::Live { .. } => {
                tracing::warn!(group, error = %chain, hint, ?delay, "consumer no longer live");
            }
            Health::Connecting => {
                tracing::warn!(group, error = %chain, hint, ?delay, "consumer could not become live");
            }
            _ => tracing::info!(group, error = %chain, hint, ?delay, "consumer still not live"),
        }
        self.degrade(error);
    }

    /// The consumer is not live, although the connections are open.
    pub(super) fn degraded(&self, error: &Error) {
        if self.is_live() {
            let (group, hint) = (&*self.group, error.hint());
            tracing::warn!(group, error = %error.chain(), hint, "consumer no longer live");
        }
        self.degrade(error);
    }

    fn degrade(&self, error: &Error) {
        let degraded = |health: &mut Health| *health = health.degraded_by(error.clone());
        self.shared.health.send_modify(degraded);
    }

    /// Publishes the present state of the parts.
    pub(super) fn update(
        &mut self,
        ledger: &Ledger,
        membership: &Membership,
        acknowledger: &Acknowledger,
    ) {
        let Ledger { slices, parked } = ledger;
        self.consumers.set(1);
        self.live.set(usize::from(self.is_live()));
        self.slices.set(slices.len());
        self.parked_rows.set(parked.rows());
        self.held_up.set(acknowledger.held_up().len());
        let mut report = self.shared.report();
        report.parked_rows = parked.rows();
        report.parked = (parked.events() + membership.parked_at_stop()) as u64;
        report.slices = slices.len();
        report.in_flight = slices.pending();
        report.held_up.clear();
        let held_up = acknowledger.held_up();
        report
            .held_up
            .extend(held_up.map(|(slice, cause)| (slice, cause.chain())));
    }
}
