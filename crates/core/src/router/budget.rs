//! The time for which a subscriber may delay the source, and thereby all others: [`MAX_WAIT`] at once, and a [`SHARE`] of the
//! time in the long run.

use std::time::Duration;

use tokio::time::Instant;

/// The longest time that a source waits for a subscriber at once.
pub(super) const MAX_WAIT: Duration = Duration::from_millis(200);

/// The part of the time that a source waits for a subscriber in the long run: one in this many.
pub(super) const SHARE: u32 = 10;

/// How often a waiting source looks for room.
pub(super) const INTERVAL: Duration = Duration::from_millis(1);

/// For how long a source may wait for a subscriber.
#[derive(Debug)]
pub(super) struct Budget {
    left: Duration,
    /// When `left` was computed.
    at: Instant,
}

impl Budget {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            left: MAX_WAIT,
            at: now,
        }
    }

    pub(super) fn has_some(&mut self, now: Instant) -> bool {
        self.left = (self.left + now.saturating_duration_since(self.at) / SHARE).min(MAX_WAIT);
        self.at = now;
        self.left >= INTERVAL
    }

    /// The source has waited from `since` to `now`.
    pub(super) fn spend(&mut self, since: Instant, now: Instant) {
        self.left = self
            .left
            .saturating_sub(now.saturating_duration_since(since));
        self.at = now;
    }
}
