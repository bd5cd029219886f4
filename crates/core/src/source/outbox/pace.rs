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

pub(super) struct Pace {
    /// To look at once.
    now: bool,
    /// Else, when this is over.
    timer: Pin<Box<Sleep>>,
    busy_until: Instant,
    failsafe: Duration,
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
        }
    }

    /// A writer said that there is something.
    pub(super) fn wake(&mut self) {
        self.now = true;
        self.busy_until = Instant::now() + LATELY;
    }

    /// Ready when it is time to look. A wake-up that comes during the look counts for the next one: its commit may be too
    /// young for this.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match std::mem::take(&mut self.now) {
            true => Poll::Ready(()),
            false => self.timer.as_mut().poll(cx),
        }
    }

    /// A look is over: whether it has found anything, and all there was.
    pub(super) fn looked(&mut self, found: bool, all: bool) {
        let now = Instant::now();
        if found {
            self.busy_until = now + LATELY;
        }
        self.now |= !all;
        let pause = match now < self.busy_until {
            true => SOON.min(self.failsafe),
            false => self.failsafe,
        };
        self.timer.as_mut().reset(now + pause);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
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
        pace.wake();
        pace.looked(false, true);
        assert_eq!(due(&mut pace).await, 0, "woken up again");
        pace.looked(false, true);
        assert!(due(&mut pace).await <= 6, "others were not announced");
    }
}
