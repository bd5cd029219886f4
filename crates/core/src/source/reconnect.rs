//! Attempts to open a session: their time limit, and the delays between them.

use std::future::Future;

use tokio::time::{Instant, timeout};

use super::options::Options;
use crate::error::{Error, ErrorKind, Result};

/// Counts the attempts to connect since the last session that lasted.
#[derive(Debug, Default)]
pub(super) struct Reconnects(u32);

impl Reconnects {
    /// Records that there is no session because of `cause`, and returns the time of the next attempt. `opened` is the start
    /// of the session that was lost, if there was one.
    pub(super) fn next(
        &mut self,
        options: &Options,
        opened: Option<Instant>,
        cause: &Error,
    ) -> Instant {
        if opened.is_some_and(|since| since.elapsed() > options.backoff.ceiling(self.0)) {
            self.0 = 0;
        }
        let delay = options.backoff.delay(self.0);
        self.0 = self.0.saturating_add(1);
        tracing::debug!(error = %cause.chain(), ?delay, attempt = self.0, "not connected, backing off");
        Instant::now() + delay
    }
}

/// Opens a session, or fails when the limit is reached.
pub(super) async fn within_limit<T>(
    options: &Options,
    opening: impl Future<Output = Result<T>>,
) -> Result<T> {
    let limit = options.connect_timeout;
    timeout(limit, opening).await.unwrap_or_else(|_| {
        let config = &options.config;
        let message = format!("no session with {config} within {limit:?}");
        Err(Error::new(ErrorKind::Connect, message))
    })
}
