//! Waiting until a listener or a consumer is live.

use std::time::Duration;

use pgherald_core::{Error, Health, Result};
use tokio::sync::watch;

/// Waits until `health` is live. Fails if its owner has stopped.
pub(super) async fn wait(health: &mut watch::Receiver<Health>) -> Result<()> {
    let live = health.wait_for(Health::is_live).await;
    live.map(drop).map_err(|_| Error::shut_down())
}

/// Waits until `health` is live, at most for `limit`. `waits_for` names its owner in the error.
pub(super) async fn within(
    limit: Duration,
    mut health: watch::Receiver<Health>,
    waits_for: &str,
) -> Result<()> {
    if let Ok(outcome) = tokio::time::timeout(limit, wait(&mut health)).await {
        return outcome;
    }
    let cause = match &*health.borrow() {
        Health::Live { .. } => return Ok(()),
        Health::Degraded { cause, .. } => Some(cause.clone()),
        Health::Connecting => None,
    };
    Err(Error::not_live(waits_for, limit, cause))
}
