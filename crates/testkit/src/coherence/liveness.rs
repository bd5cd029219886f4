//! Whether the source is live, by the listener's health.

use std::time::{Duration, SystemTime};

use pgherald_core::Health;
use tokio::sync::watch;

#[derive(Clone, Debug)]
pub(super) struct Liveness(watch::Receiver<Health>);

/// A time during which the source is not live. Identified by its beginning.
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

    /// Returns the current outage.
    pub(super) fn outage(&self) -> Option<Outage> {
        match &*self.0.borrow() {
            Health::Degraded { since, .. } => Some(Outage(*since)),
            _ => None,
        }
    }

    /// Returns the time since when the source is live.
    pub(super) fn live_since(&self) -> Option<SystemTime> {
        match &*self.0.borrow() {
            Health::Live { since } => Some(*since),
            _ => None,
        }
    }

    /// Returns whether the source is live, or becomes live within `limit`.
    pub(super) async fn live(&self, limit: Duration) -> bool {
        self.becomes(Health::is_live, limit).await
    }

    /// Returns whether the source is not live, or stops being live within `limit`.
    pub(super) async fn not_live(&self, limit: Duration) -> bool {
        self.becomes(|health| !health.is_live(), limit).await
    }

    async fn becomes(&self, condition: impl FnMut(&Health) -> bool, limit: Duration) -> bool {
        let mut health = self.health();
        let fulfilled = tokio::time::timeout(limit, health.wait_for(condition)).await;
        matches!(fulfilled, Ok(Ok(_)))
    }
}
