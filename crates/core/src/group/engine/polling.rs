//! When to read the next page.
//!
//! Pages follow each other without a pause while there are rows. After that, the node polls at short intervals for a while, and
//! then waits for a wake-up. Pure: the caller passes the time.
//!
//! Consumers that share connections poll at the same moments, so that one look at the outbox serves all of them.

use std::time::Duration;

use tokio::time::Instant;

/// How long a consumer polls at short intervals after an event. It is longer than the 50 ms between the wake-ups of writers.
const BUSY: Duration = Duration::from_millis(100);
/// The interval of these polls.
const BUSY_POLL: Duration = Duration::from_millis(5);
/// The interval of polls without wake-ups, because the wake-up of a transaction that is rolled back is lost.
const FAILSAFE_POLL: Duration = Duration::from_secs(1);

pub(super) struct Polling {
    /// Polls are whole intervals after this moment.
    start: Instant,
    next: Instant,
    /// When the last page was requested.
    polled_at: Instant,
    last_event: Instant,
    /// The number of streams in a row that had no more rows.
    idle_streams: usize,
    /// Whether a wake-up has arrived since the last page was requested.
    was_woken: bool,
}

impl Polling {
    /// Polls at whole intervals after `start`.
    pub(super) fn new(now: Instant, start: Instant) -> Self {
        Self {
            start,
            next: now,
            polled_at: now,
            last_event: now,
            idle_streams: 0,
            was_woken: false,
        }
    }

    /// New connections: a page is due.
    pub(super) fn connected(&mut self, now: Instant) {
        *self = Self::new(now, self.start);
    }

    /// When to request the next page.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// When the last page was requested.
    pub(super) fn polled_at(&self) -> Instant {
        self.polled_at
    }

    /// Handles a wake-up: a writer may have recorded events. Any role can send one, so wake-ups cause no more requests than a
    /// busy outbox.
    pub(super) fn on_wake_up(&mut self, now: Instant) {
        self.was_woken = true;
        self.idle_streams = 0;
        self.next = self.next.min(self.next_busy(now));
    }

    /// The first moment of polls that is not too close.
    fn next_poll(&self, now: Instant, interval: Duration) -> Instant {
        let earliest = now + BUSY_POLL / 2;
        let passed = earliest.saturating_duration_since(self.start).as_nanos();
        // Less than an interval.
        let left = passed.next_multiple_of(interval.as_nanos()) - passed;
        earliest + Duration::from_nanos(u64::try_from(left).unwrap_or_default())
    }

    fn next_busy(&self, now: Instant) -> Instant {
        (self.polled_at + BUSY_POLL).max(now)
    }

    /// Schedules a page at once, because there may be rows to read.
    pub(super) fn read_on(&mut self, now: Instant) {
        self.was_woken = true;
        self.idle_streams = 0;
        self.next = now;
    }

    /// A page was requested.
    pub(super) fn requested(&mut self, now: Instant) {
        self.was_woken = false;
        self.polled_at = now;
    }

    /// Schedules the next page after one was read. `streams` is the number of streams that take turns.
    pub(super) fn have_read(
        &mut self,
        now: Instant,
        has_events: bool,
        is_last: bool,
        streams: usize,
    ) {
        if has_events {
            self.last_event = now;
        }
        self.idle_streams = match is_last && !self.was_woken {
            true => self.idle_streams + 1,
            false => 0,
        };
        self.next = if self.idle_streams < streams {
            match is_last && self.was_woken {
                true => self.next_busy(now),
                false => now,
            }
        } else {
            self.idle_streams = 0;
            match now < self.last_event + BUSY {
                true => self.next_poll(now, BUSY_POLL),
                false => self.next_poll(now, FAILSAFE_POLL),
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{BUSY, BUSY_POLL, FAILSAFE_POLL, Polling};

    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn pages_follow_each_other_until_every_stream_is_idle() {
        let start = Instant::now();
        let mut polling = Polling::new(start, start);
        polling.requested(start);
        polling.have_read(start, true, false, 2);
        assert_eq!(polling.next(), start, "there are more rows");
        polling.have_read(start, true, true, 2);
        assert_eq!(polling.next(), start, "the other stream");
        polling.have_read(start, false, true, 2);
        assert_eq!(polling.next(), start + BUSY_POLL);
        let later = start + BUSY;
        polling.have_read(later, false, true, 1);
        assert_eq!(polling.next(), start + FAILSAFE_POLL);
    }

    #[test]
    fn consumers_that_start_at_different_times_poll_at_the_same_moments() {
        let start = Instant::now();
        let next = |now: Instant| {
            let mut polling = Polling::new(now, start);
            polling.requested(now);
            polling.have_read(now + BUSY, false, true, 1);
            polling.next()
        };
        for offset in [0, 1, 410, 897] {
            let now = start + MILLISECOND * offset;
            assert_eq!(next(now), start + FAILSAFE_POLL, "{offset}");
        }
        // After a year, there have been more short intervals than a u32 can count.
        let now = start + Duration::from_secs(365 * 86_400);
        let mut polling = Polling::new(now, start);
        polling.have_read(now, true, true, 1);
        assert_eq!(polling.next(), now + BUSY_POLL);
        // A poll right after a read would find nothing.
        let late = start + FAILSAFE_POLL - BUSY - MILLISECOND;
        assert_eq!(next(late), start + FAILSAFE_POLL * 2);
    }

    #[test]
    fn wake_ups_cause_no_more_pages_than_a_busy_outbox() {
        let start = Instant::now();
        let mut polling = Polling::new(start, start);
        polling.requested(start);
        polling.have_read(start + BUSY, false, true, 1);
        polling.on_wake_up(start + MILLISECOND);
        assert_eq!(polling.next(), start + BUSY_POLL);
        polling.requested(start + BUSY_POLL);
        polling.on_wake_up(start + BUSY_POLL);
        polling.have_read(start + BUSY_POLL, false, true, 1);
        assert_eq!(
            polling.next(),
            start + BUSY_POLL * 2,
            "the page may have been too early"
        );
    }
}
