//! A session that is opened again after it was lost. Sources and consumers have one each.
//!
//! ```text
//!   waiting ── delay is over ──► opening ── opened ──► open
//!      ▲                            │ failed            │ lost
//!      └────────────────────────────┴───────────────────┘
//! ```
//!
//! The delays are those of a [`Backoff`]. They begin anew after a session that lasted longer than the delay before it could have
//! been.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use crate::backoff::Backoff;
use crate::error::{Error, ErrorKind, Result};

/// `F` opens a session, and `S` is what is kept of it.
pub struct Reconnecting<F, S> {
    stage: Stage<F, S>,
    backoff: Backoff,
    /// Failed attempts since the last session that lasted.
    failures: u32,
}

enum Stage<F, S> {
    Waiting(Instant),
    /// The attempt is kept between polls, so dropping a call of [`opened`](Reconnecting::opened) does not abort it.
    Opening(F),
    Open {
        session: S,
        since: Instant,
    },
}

impl<F, S> Reconnecting<F, S> {
    /// The first attempt is due at once.
    pub fn new(backoff: Backoff) -> Self {
        Self {
            stage: Stage::Waiting(Instant::now()),
            backoff,
            failures: 0,
        }
    }

    /// Returns the session if it is open.
    pub fn session(&self) -> Option<&S> {
        match &self.stage {
            Stage::Open { session, .. } => Some(session),
            Stage::Waiting(_) | Stage::Opening(_) => None,
        }
    }

    /// As [`session`](Self::session), to use it.
    pub fn session_mut(&mut self) -> Option<&mut S> {
        match &mut self.stage {
            Stage::Open { session, .. } => Some(session),
            Stage::Waiting(_) | Stage::Opening(_) => None,
        }
    }

    /// Keeps a session that was opened.
    pub fn keep(&mut self, session: S) {
        self.stage = Stage::Open {
            session,
            since: Instant::now(),
        };
    }

    /// Drops the session, if there is one, and schedules the next attempt. Returns the delay before it.
    pub fn lost(&mut self, cause: &Error) -> Duration {
        self.lost_for(cause, Duration::ZERO)
    }

    /// As [`lost`](Self::lost), if the peer has asked for a delay. It counts up to the longest delay of the backoff.
    pub fn lost_for(&mut self, cause: &Error, asked: Duration) -> Duration {
        let now = Instant::now();
        if let Stage::Open { since, .. } = self.stage
            && now - since > self.backoff.ceiling(self.failures)
        {
            self.failures = 0;
        }
        let asked = asked.min(self.backoff.ceiling(u32::MAX));
        let delay = self.backoff.delay(self.failures).max(asked);
        self.failures = self.failures.saturating_add(1);
        let attempt = self.failures;
        tracing::debug!(error = %cause.chain(), ?delay, attempt, "not connected, backing off");
        self.stage = Stage::Waiting(now + delay);
        delay
    }
}

impl<T, F: Future<Output = Result<T>> + Unpin, S> Reconnecting<F, S> {
    /// Waits until an attempt is due, makes it by `open`, and returns its outcome: [`keep`](Self::keep) the session, or call
    /// [`lost`](Self::lost). Waits forever if a session is open. Cancel-safe.
    pub async fn opened(&mut self, open: impl FnOnce() -> F) -> Result<T> {
        if let Stage::Waiting(until) = self.stage {
            sleep_until(until).await;
            self.stage = Stage::Opening(open());
        }
        match &mut self.stage {
            Stage::Opening(opening) => opening.await,
            Stage::Waiting(_) | Stage::Open { .. } => std::future::pending().await,
        }
    }
}

impl<F, S: fmt::Debug> fmt::Debug for Reconnecting<F, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stage {
            Stage::Waiting(until) => f.debug_tuple("Waiting").field(until).finish(),
            Stage::Opening(_) => f.write_str("Opening"),
            Stage::Open { session, since } => {
                let mut open = f.debug_struct("Open");
                open.field("session", session).field("since", since);
                open.finish()
            }
        }
    }
}

/// Opens a session with `server`, or fails when the limit is reached.
pub async fn within_limit<T>(
    limit: Duration,
    server: &impl fmt::Display,
    opening: impl Future<Output = Result<T>>,
) -> Result<T> {
    timeout(limit, opening).await.unwrap_or_else(|_| {
        let message = format!("no session with {server} within {limit:?}");
        Err(Error::new(ErrorKind::Connect, message))
    })
}

#[cfg(test)]
mod tests {
    use std::future::{Ready, ready};
    use std::time::Duration;

    use tokio::time::{Instant, advance};

    use super::Reconnecting;
    use crate::backoff::Backoff;
    use crate::error::{Error, ErrorKind, Result};

    const CAP: Duration = Duration::from_secs(10);

    fn broken() -> Error {
        Error::new(ErrorKind::Disconnected, "broken")
    }

    fn reconnecting() -> Reconnecting<Ready<Result<u8>>, u8> {
        Reconnecting::new(Backoff::new(Duration::from_millis(100), CAP))
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_waits_for_its_delay() {
        let mut reconnecting = reconnecting();
        let began = Instant::now();
        assert_eq!(reconnecting.opened(|| ready(Ok(1))).await.unwrap(), 1);
        assert_eq!(began.elapsed(), Duration::ZERO, "the first attempt");
        reconnecting.keep(1);
        assert_eq!(reconnecting.session(), Some(&1));
        let delay = reconnecting.lost(&broken());
        assert_eq!(reconnecting.session(), None);
        reconnecting.opened(|| ready(Ok(2))).await.unwrap();
        assert!(began.elapsed() >= delay);
    }

    #[test]
    fn a_peer_can_delay_the_next_attempt_up_to_the_longest_backoff() {
        let minute = Duration::from_secs(60);
        let asked = Duration::from_secs(5);
        assert_eq!(reconnecting().lost_for(&broken(), asked), asked);
        assert_eq!(reconnecting().lost_for(&broken(), minute), CAP);
    }

    #[tokio::test(start_paused = true)]
    async fn delays_begin_anew_after_a_session_that_lasted() {
        let mut reconnecting = reconnecting();
        for _ in 0..20 {
            reconnecting.lost(&broken());
        }
        reconnecting.keep(1);
        advance(Duration::from_millis(1)).await;
        reconnecting.lost(&broken());
        assert_eq!(reconnecting.failures, 21, "the session was short");
        reconnecting.keep(1);
        advance(CAP * 2).await;
        reconnecting.lost(&broken());
        assert_eq!(reconnecting.failures, 1);
    }
}
