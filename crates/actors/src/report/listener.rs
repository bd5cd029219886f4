//! The report of a listener's shutdown.

use std::fmt;

use pgherald_core::{ListenerCounts, SubscriptionStats};

/// Which events a listener received, delivered and dropped until its shutdown.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Everything that the source received.
    pub counts: ListenerCounts,
    /// The subscriptions that existed at the shutdown, ordered by id.
    pub subscriptions: Vec<SubscriptionReport>,
    /// Unhandled events of subscriptions that had ended before, because their actor had stopped.
    pub abandoned: u64,
}

/// Which events of one subscription were delivered and dropped.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SubscriptionReport {
    /// The subscription's counts at the end. Events that are still `queued` were dropped.
    pub stats: SubscriptionStats,
    /// Events that were sent to the actor, but not handled in time. They are included in `stats.delivered`.
    pub unconfirmed: u64,
    /// Whether a resync was not delivered, or not handled in time.
    pub resync_pending: bool,
}

impl SubscriptionReport {
    /// Returns the number of events that are not known to be handled, without those that were `lost` before.
    pub(crate) fn unhandled(&self) -> u64 {
        self.stats.queued + self.unconfirmed
    }
}

impl ShutdownReport {
    /// Returns whether no event was dropped, unconfirmed or abandoned, and no resync is pending. Events that were `lost`
    /// before the shutdown do not count.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.abandoned == 0
            && self
                .subscriptions
                .iter()
                .all(|report| report.unhandled() == 0 && !report.resync_pending)
    }
}

/// One line for the listener, then one for each subscription.
impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} events received", self.counts.events)?;
        for (count, label) in [
            (self.counts.undecodable, "payloads failed to decode"),
            (self.counts.disconnected, "lost connections"),
            (
                self.counts.failed_attempts,
                "failed attempts to become live",
            ),
        ] {
            if count > 0 {
                write!(f, ", {count} {label}")?;
            }
        }
        if self.abandoned > 0 {
            write!(
                f,
                ", {} abandoned by subscribers that stopped",
                self.abandoned
            )?;
        }
        for SubscriptionReport {
            stats, unconfirmed, ..
        } in &self.subscriptions
        {
            // Whether a handler succeeded with them is in its own report.
            let confirmed = stats.delivered - unconfirmed;
            write!(
                f,
                "\n{}: {confirmed} delivered, {unconfirmed} unconfirmed, {} dropped at shutdown, {} lost before",
                stats.name, stats.queued, stats.lost
            )?;
        }
        Ok(())
    }
}
