//! Attempts to open a session: how long each may take, and when the next one follows.

use std::future::Future;

use tokio::time::{Instant, timeout};

use super::terms::Terms;
use crate::error::{Error, Kind, Result};

/// How many there were since the last session that lasted.
#[derive(Debug, Default)]
pub(super) struct Attempts(u32);

impl Attempts {
    /// There is no session for `cause`; `opened` is since when there was one. Returns when to try again.
    pub(super) fn next(
        &mut self,
        terms: &Terms,
        opened: Option<Instant>,
        cause: &Error,
    ) -> Instant {
        if opened.is_some_and(|since| since.elapsed() > terms.backoff.ceiling(self.0)) {
            self.0 = 0;
        }
        let delay = terms.backoff.delay(self.0);
        self.0 = self.0.saturating_add(1);
        tracing::debug!(error = %cause.chain(), ?delay, attempt = self.0, "not connected, backing off");
        Instant::now() + delay
    }
}

/// Opens a session, or fails in time.
pub(super) async fn within_limit<T>(
    terms: &Terms,
    opening: impl Future<Output = Result<T>>,
) -> Result<T> {
    let limit = terms.connect_timeout;
    timeout(limit, opening).await.unwrap_or_else(|_| {
        let config = &terms.config;
        let message = format!("no session with {config} within {limit:?}");
        Err(Error::new(Kind::Connect, message))
    })
}
