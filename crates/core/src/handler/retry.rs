//! Decides what follows a failed attempt.

use std::time::Duration;

use super::Failure;
use crate::backoff::Backoff;

/// The number of attempts of a task, and the delay between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    max_attempts: u32,
    backoff: Backoff,
}

impl RetryPolicy {
    /// Allows at most `max_attempts` attempts (0 counts as 1), with the delays of `backoff`.
    #[must_use]
    pub const fn new(max_attempts: u32, backoff: Backoff) -> Self {
        let max_attempts = if max_attempts == 0 { 1 } else { max_attempts };
        Self {
            max_attempts,
            backoff,
        }
    }

    /// Allows a single attempt.
    #[must_use]
    pub const fn never() -> Self {
        Self::new(1, Backoff::new(Duration::ZERO, Duration::ZERO))
    }

    /// Returns the largest number of attempts of a task.
    #[must_use]
    pub fn max_attempts(&self) -> u32 {
        self.max_attempts
    }

    /// Returns the delay before the next attempt after `attempts` failures. `None` if the task is given up.
    #[must_use]
    pub fn next(&self, attempts: u32, failure: &Failure) -> Option<Duration> {
        match failure {
            Failure::Snoozed(delay) => Some(*delay),
            _ if !failure.is_retryable() || attempts >= self.max_attempts => None,
            Failure::Error {
                retry_after: Some(delay),
                ..
            } => Some(*delay),
            _ => Some(self.backoff.delay(attempts.saturating_sub(1))),
        }
    }
}

/// Five attempts, with delays that double from 100 ms up to 10 s.
impl Default for RetryPolicy {
    fn default() -> Self {
        Self::new(
            5,
            Backoff::new(Duration::from_millis(100), Duration::from_secs(10)),
        )
    }
}
