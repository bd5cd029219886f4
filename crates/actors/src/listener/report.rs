//! What a listener reports at its shutdown.

use std::fmt;

use pgherald_core::{ListenerCounts, SubscriptionStats};

/// What became of the events that were on their way at shutdown.
#[derive(Clone, Debug, Default)]
pub struct ShutdownReport {
    /// What was received as a whole.
    pub counts: ListenerCounts,
    /// Each subscription that was there at the end, in the order of their ids.
    pub subscriptions: Vec<SubscriptionReport>,
    /// Events of subscriptions that had ended before, because their actor had stopped, without having been
    /// handled.
    pub abandoned: u64,
}

/// What became of one subscription's events.
#[derive(Clone, Debug)]
pub struct SubscriptionReport {
    /// Its counts at the end. What is still `queued` was dropped.
    pub stats: SubscriptionStats,
    /// Events that were handed to the actor, which did not finish handling them in time. Part of
    /// `stats.delivered`.
    pub unconfirmed: u64,
    /// Whether a resync was not delivered, or not handled in time.
    pub resync_pending: bool,
}

impl SubscriptionReport {
    /// Events that nobody is known to have handled, besides those that were `lost` before.
    pub(super) fn left(&self) -> u64 {
        self.stats.queued + self.unconfirmed
    }
}

impl ShutdownReport {
    /// Whether everything that was received was also handled.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.abandoned == 0
            && self
                .subscriptions
                .iter()
                .all(|report| report.left() == 0 && !report.resync_pending)
    }
}

/// One line per subscription.
impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} events received", self.counts.events)?;
        for (count, what) in [
            (self.counts.undecodable, "payloads not understood"),
            (self.counts.disconnected, "lost connections"),
            (
                self.counts.failed_attempts,
                "failed attempts to become live",
            ),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
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
            // The subscriber's own report shows whether it succeeded with them.
            let taken = stats.delivered - unconfirmed;
            write!(
                f,
                "\n{}: {taken} delivered, {unconfirmed} unconfirmed, {} dropped at shutdown, {} lost before",
                stats.name, stats.queued, stats.lost
            )?;
        }
        Ok(())
    }
}
