//! Waiting until a listener or a consumer is live.

use std::time::Duration;

use pgherald_core::__private::host::errors;
use pgherald_core::{Error, Health, Result};
use tokio::sync::watch;

/// Waits until `health` is live. Fails if the owner of `health` has stopped.
pub(super) async fn wait(health: &mut watch::Receiver<Health>) -> Result<()> {
    let live = health.wait_for(Health::is_live).await;
    live.map(drop).map_err(|_| Error::shut_down())
}

/// Waits until `health` is live, for at most `limit`. The error names the owner of `health` as `owner`.
pub(super) async fn within(
    limit: Duration,
    mut health: watch::Receiver<Health>,
    owner: &str,
) -> Result<()> {
    if let Ok(outcome) = tokio::time::timeout(limit, wait(&mut health)).await {
        return outcome;
    }
    let cause = match &*health.borrow() {
        Health::Live { .. } => return Ok(()),
        Health::Degraded { cause, .. } => Some(cause.clone()),
        _ => None,
    };
    Err(errors::not_live(owner, limit, cause))
}
