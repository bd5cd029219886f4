//! Whether the source is live, as the listener tells.

use std::time::{Duration, SystemTime};

use pgherald_core::Health;
use tokio::sync::watch;

#[derive(Clone, Debug)]
pub(super) struct Liveness(watch::Receiver<Health>);

/// A stretch of time without a live source. The same one until it is live again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Outage(SystemTime);

impl Outage {
    pub(super) fn lasted(self) -> Duration {
        self.0.elapsed().unwrap_or_default()
    }
}

impl Liveness {
    pub(super) fn new(health: watch::Receiver<Health>) -> Self {
        Self(health)
    }

    pub(super) fn health(&self) -> watch::Receiver<Health> {
        self.0.clone()
    }

    /// The outage there is now.
    pub(super) fn outage(&self) -> Option<Outage> {
        match &*self.0.borrow() {
            Health::Degraded { since, .. } => Some(Outage(*since)),
            Health::Live { .. } | Health::Connecting => None,
        }
    }

    /// Since when it is live.
    pub(super) fn live_since(&self) -> Option<SystemTime> {
        match &*self.0.borrow() {
            Health::Live { since } => Some(*since),
            Health::Degraded { .. } | Health::Connecting => None,
        }
    }

    /// Whether it is live, or becomes so within `limit`.
    pub(super) async fn live(&self, limit: Duration) -> bool {
        self.becomes(Health::is_live, limit).await
    }

    /// Whether it is not live, or ceases to be so within `limit`.
    pub(super) async fn not_live(&self, limit: Duration) -> bool {
        self.becomes(|health| !health.is_live(), limit).await
    }

    async fn becomes(&self, condition: impl FnMut(&Health) -> bool, limit: Duration) -> bool {
        let mut health = self.health();
        let fulfilled = tokio::time::timeout(limit, health.wait_for(condition)).await;
        matches!(fulfilled, Ok(Ok(_)))
    }
}
