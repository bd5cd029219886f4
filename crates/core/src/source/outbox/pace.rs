//! When to look into the outbox.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// How often to look while there was something lately.
const SOON: Duration = Duration::from_millis(5);

/// How long that is: writers wake readers up every 50 ms at most, so what comes in between is not announced.
const LATELY: Duration = Duration::from_millis(100);

/// How often a wake-up is followed by a look at once. Any role can send wake-ups, as often as it likes. Those of writers are
/// 50 ms apart, or somewhat less, as their commits take different times.
const WAKE_UPS_APART: Duration = Duration::from_millis(25);

pub(super) struct Pace {
    /// To look at once.
    now: bool,
    /// Else, when this is over.
    timer: Pin<Box<Sleep>>,
    busy_until: Instant,
    failsafe: Duration,
    /// When a wake-up was last followed by a look at once.
    woken_at: Option<Instant>,
    /// A wake-up has come since the last look began.
    was_called: bool,
}

impl Pace {
    /// Begins with a look, and as if there had been something: who woke readers up just before this one listened has left
    /// others unannounced.
    pub(super) fn new(failsafe: Duration) -> Self {
        Self {
            now: true,
            timer: Box::pin(sleep(failsafe)),
            busy_until: Instant::now() + LATELY,
            failsafe,
            woken_at: None,
            was_called: false,
        }
    }

    /// A writer said that there is something, or another role did. The next look is then at once, or after a short pause if one
    /// was at once for another wake-up lately.
    pub(super) fn wake(&mut self) {
        let now = Instant::now();
        self.busy_until = now + LATELY;
        self.was_called = true;
        if self.woken_at.is_none_or(|at| now >= at + WAKE_UPS_APART) {
            self.now = true;
            self.woken_at = Some(now);
        }
    }

    /// Ready when it is time to look. A wake-up that comes during the look counts for the next one: its commit may be too
    /// young for this.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let due = match std::mem::take(&mut self.now) {
            true => Poll::Ready(()),
            false => self.timer.as_mut().poll(cx),
        };
        self.was_called &= due.is_pending();
        due
    }

    /// A look is over: whether it has found anything, and all there was.
    pub(super) fn looked(&mut self, found: bool, all: bool) {
        let now = Instant::now();
        if found {
            self.busy_until = now + LATELY;
        }
        self.now |= !all;
        let pause = match self.was_called || now < self.busy_until {
            true => SOON.min(self.failsafe),
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

    /// After how many milliseconds it is time to look.
    async fn due(pace: &mut Pace) -> u128 {
        let began = Instant::now();
        poll_fn(|cx| pace.poll(cx)).await;
        began.elapsed().as_millis()
    }

    #[tokio::test(start_paused = true)]
    async fn it_looks_at_once_soon_or_now_and_then() {
        let mut pace = Pace::new(Duration::from_secs(1));
        assert_eq!(due(&mut pace).await, 0, "at the start");
        pace.looked(false, true);
        assert!(
            due(&mut pace).await <= 6,
            "who came before us has silenced others"
        );
        pace.looked(true, false);
        assert_eq!(due(&mut pace).await, 0, "there is more");
        pace.looked(true, true);
        for _ in 0..20 {
            assert!(due(&mut pace).await <= 6, "there was something lately");
            pace.looked(false, true);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        pace.looked(false, true);
        assert!(due(&mut pace).await >= 1_000, "there was nothing");
        pace.wake();
        assert_eq!(due(&mut pace).await, 0, "woken up");
        // During the look.
        tokio::time::sleep(Duration::from_millis(30)).await;
        pace.wake();
        pace.looked(false, true);
        assert_eq!(due(&mut pace).await, 0, "woken up again");
        pace.looked(false, true);
        assert!(due(&mut pace).await <= 6, "others were not announced");
    }

    #[tokio::test(start_paused = true)]
    async fn each_wake_up_of_writers_is_followed_by_a_look_at_once() {
        let mut pace = Pace::new(Duration::from_secs(1));
        for pause in [0, 50, 49, 30, 3_000, 200, 26, 51] {
            // Meanwhile it looks as it likes.
            let over = Instant::now() + Duration::from_millis(pause);
            while tokio::time::timeout_at(over, due(&mut pace)).await.is_ok() {
                pace.looked(false, true);
            }
            pace.wake();
            assert_eq!(due(&mut pace).await, 0, "after {pause} ms");
            pace.looked(true, true);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_wake_ups_causes_few_more_looks_than_the_busy_poll() {
        for lasts in [0, 7] {
            let mut pace = Pace::new(Duration::from_secs(1));
            let (mut looks, mut looking) = (0, None);
            for millisecond in 0..1_000 {
                for _ in 0..3 {
                    pace.wake();
                }
                if looking.is_some_and(|since| millisecond >= since + lasts) {
                    looking = None;
                    pace.looked(false, true);
                }
                let is_due = poll_fn(|cx| Poll::Ready(pace.poll(cx).is_ready()));
                if looking.is_none() && is_due.await {
                    looks += 1;
                    looking = Some(millisecond);
                }
                tokio::time::advance(Duration::from_millis(1)).await;
            }
            assert!(looks <= 1_000 / 5 + 1_000 / 25 + 2, "{looks} looks");
            assert!(looks >= 70, "{looks} looks");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wake_up_during_a_long_look_is_followed_by_another_look() {
        let mut pace = Pace::new(Duration::from_secs(3_600));
        pace.wake();
        due(&mut pace).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        pace.wake();
        tokio::time::sleep(Duration::from_secs(1)).await;
        pace.looked(false, true);
        assert!(due(&mut pace).await <= 6);
        pace.looked(false, true);
        assert_eq!(due(&mut pace).await, 3_600_000);
    }
}
