//! Decides when to read the outbox.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// The interval between reads while the source is busy.
const BUSY_INTERVAL: Duration = Duration::from_millis(5);

/// How long the source stays busy after an event. Writers send wake-ups at most every 50 ms, so changes in between are not
/// announced.
const BUSY_FOR: Duration = Duration::from_millis(100);

/// The shortest interval between wake-ups that cause an immediate read. Any role can send wake-ups at any rate. Those of
/// writers are about 50 ms apart, and less if their commits take different times.
const WAKE_UP_SPACING: Duration = Duration::from_millis(25);

pub(super) struct Pace {
    /// Whether to read at once.
    now: bool,
    /// When to read otherwise.
    timer: Pin<Box<Sleep>>,
    busy_until: Instant,
    failsafe: Duration,
    /// When a wake-up last caused an immediate read.
    woken_at: Option<Instant>,
    /// Whether a wake-up has arrived since the last read began.
    was_woken: bool,
}

impl Pace {
    /// Starts busy and with an immediate read. A wake-up just before this session listened may have suppressed those of other
    /// writers.
    pub(super) fn new(failsafe: Duration) -> Self {
        Self {
            now: true,
            timer: Box::pin(sleep(failsafe)),
            busy_until: Instant::now() + BUSY_FOR,
            failsafe,
            woken_at: None,
            was_woken: false,
        }
    }

    /// Handles a wake-up of a writer or of another role. The next read is immediate, or follows after a short pause if a
    /// wake-up has just caused an immediate read.
    pub(super) fn wake(&mut self) {
        let now = Instant::now();
        self.busy_until = now + BUSY_FOR;
        self.was_woken = true;
        if self.woken_at.is_none_or(|at| now >= at + WAKE_UP_SPACING) {
            self.now = true;
            self.woken_at = Some(now);
        }
    }

    /// Ready when it is time to read. A wake-up that arrives during a read counts for the next read, because this read's
    /// snapshot may be older than its commit.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let due = match std::mem::take(&mut self.now) {
            true => Poll::Ready(()),
            false => self.timer.as_mut().poll(cx),
        };
        self.was_woken &= due.is_pending();
        due
    }

    /// Ends a read. `found` is whether it returned anything, and `all` whether it reached the end.
    pub(super) fn read_finished(&mut self, found: bool, all: bool) {
        let now = Instant::now();
        if found {
            self.busy_until = now + BUSY_FOR;
        }
        self.now |= !all;
        let pause = match self.was_woken || now < self.busy_until {
            true => BUSY_INTERVAL.min(self.failsafe),
            false => self.failsafe,
        };
        self.timer.as_mut().reset(now + pause);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Pace;

    async fn due(pace: &mut Pace) -> u128 {
        let began = Instant::now();
        poll_fn(|cx| pace.poll(cx)).await;
        began.elapsed().as_millis()
    }

    #[tokio::test(start_paused = true)]
    async fn reads_are_immediate_or_frequent_while_busy_and_rare_when_idle() {
        let mut pace = Pace::new(Duration::from_secs(1));
        assert_eq!(due(&mut pace).await, 0, "at the start");
        pace.read_finished(false, true);
        assert!(
            due(&mut pace).await <= 6,
            "an earlier wake-up may have suppressed others"
        );
        pace.read_finished(true, false);
        assert_eq!(due(&mut pace).await, 0, "there is more");
        pace.read_finished(true, true);
        for _ in 0..20 {
            assert!(due(&mut pace).await <= 6, "busy");
            pace.read_finished(false, true);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        pace.read_finished(false, true);
        assert!(due(&mut pace).await >= 1_000, "idle");
        pace.wake();
        assert_eq!(due(&mut pace).await, 0, "woken up");
        // A wake-up during a read.
        tokio::time::sleep(Duration::from_millis(30)).await;
        pace.wake();
        pace.read_finished(false, true);
        assert_eq!(due(&mut pace).await, 0, "woken up again");
        pace.read_finished(false, true);
        assert!(due(&mut pace).await <= 6, "later changes are not announced");
    }

    #[tokio::test(start_paused = true)]
    async fn wake_ups_at_the_rate_of_writers_cause_immediate_reads() {
        let mut pace = Pace::new(Duration::from_secs(1));
        for pause in [0, 50, 49, 30, 3_000, 200, 26, 51] {
            // Between wake-ups it reads at its own pace.
            let over = Instant::now() + Duration::from_millis(pause);
            while tokio::time::timeout_at(over, due(&mut pace)).await.is_ok() {
                pace.read_finished(false, true);
            }
            pace.wake();
            assert_eq!(due(&mut pace).await, 0, "after {pause} ms");
            pace.read_finished(true, true);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_wake_ups_causes_few_additional_reads() {
        for lasts in [0, 7] {
            let mut pace = Pace::new(Duration::from_secs(1));
            let (mut reads, mut reading) = (0, None);
            for millisecond in 0..1_000 {
                for _ in 0..3 {
                    pace.wake();
                }
                if reading.is_some_and(|since| millisecond >= since + lasts) {
                    reading = None;
                    pace.read_finished(false, true);
                }
                let is_due = poll_fn(|cx| Poll::Ready(pace.poll(cx).is_ready()));
                if reading.is_none() && is_due.await {
                    reads += 1;
                    reading = Some(millisecond);
                }
                tokio::time::advance(Duration::from_millis(1)).await;
            }
            assert!(reads <= 1_000 / 5 + 1_000 / 25 + 2, "{reads} reads");
            assert!(reads >= 70, "{reads} reads");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wake_up_during_a_long_read_causes_another_read() {
        let mut pace = Pace::new(Duration::from_secs(3_600));
        pace.wake();
        due(&mut pace).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        pace.wake();
        tokio::time::sleep(Duration::from_secs(1)).await;
        pace.read_finished(false, true);
        assert!(due(&mut pace).await <= 6);
        pace.read_finished(false, true);
        assert_eq!(due(&mut pace).await, 3_600_000);
    }
}
