//! Waiting until a listener or a consumer is live.

use std::time::Duration;

use pgherald_core::{Error, Health, Result};
use tokio::sync::watch;

/// Waits until `health` is live, at most for `limit`. `waits_for` names its owner in the error.
pub(super) async fn within(
    limit: Duration,
    mut health: watch::Receiver<Health>,
    waits_for: &str,
) -> Result<()> {
    if let Ok(outcome) = tokio::time::timeout(limit, health.wait_for(Health::is_live)).await {
        return outcome.map(drop).map_err(|_| Error::shut_down());
    }
    let cause = match &*health.borrow() {
        Health::Live { .. } => return Ok(()),
        Health::Degraded { cause, .. } => Some(cause.clone()),
        Health::Connecting => None,
    };
    Err(Error::not_live(waits_for, limit, cause))
}
