//! How long heartbeats were under way.
//!
//! A heartbeat says how long its relay had been running when it was sent. The clocks of relay and source run equally fast, so the
//! difference of both shows the delay of a heartbeat, compared with the fastest one of the last minutes. It shows a relay that was
//! suspended while it sent, and a connection that stood still. It does not show a delay that all of them have.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::contract::Heartbeat;

/// For how long the fastest heartbeat counts, once or twice. Clocks that differ by 0.01 % go apart by 12 ms in that time.
const WINDOW: Duration = Duration::from_secs(60);
/// The most relays that are remembered.
const RELAYS: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Clocks(HashMap<Box<str>, Clock>);

/// When a relay began, as its fastest heartbeat has shown.
#[derive(Debug)]
struct Clock {
    window: Instant,
    began: Instant,
    /// In the window before.
    before: Instant,
}

impl Clocks {
    /// Returns when a heartbeat that was found at `now`, and has arrived at `arrived` or later, would have arrived without delay.
    pub(super) fn arrival(
        &mut self,
        heartbeat: &Heartbeat,
        arrived: Instant,
        now: Instant,
    ) -> Instant {
        let sent = heartbeat.sent();
        // A moment that the clock cannot express is too long ago to matter.
        let Some(began) = now.checked_sub(sent) else {
            return arrived;
        };
        if self.0.len() >= RELAYS && !self.0.contains_key(&heartbeat.relay) {
            self.0.retain(|_, clock| now < clock.window + WINDOW * 2);
        }
        let clock = self.0.entry(heartbeat.relay.clone());
        let clock = clock.or_insert(Clock {
            window: now,
            began,
            before: began,
        });
        arrived.min(clock.began_at(began, now) + sent)
    }
}

impl Clock {
    fn began_at(&mut self, began: Instant, now: Instant) -> Instant {
        if now >= self.window + WINDOW {
            (self.window, self.before, self.began) = (now, self.began, began);
        }
        self.began = self.began.min(began);
        self.began.min(self.before)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Clocks, WINDOW};
    use crate::contract::Heartbeat;

    #[test]
    fn delays_are_those_beyond_the_fastest_heartbeat() {
        let (start, mut clocks) = (Instant::now(), Clocks::default());
        let at = |ms| start + Duration::from_millis(ms);
        let mut arrival = |relay, sent, arrived| {
            let sent = (relay, Duration::from_millis(sent));
            let lag = Duration::ZERO;
            let heartbeat = Heartbeat::new(("g", "1"), (0, 1), 1, ("A", 0), lag, lag, sent);
            clocks.arrival(&heartbeat, at(arrived), at(arrived))
        };
        // The relay began 100 ms before, and this heartbeat took some time, which is not known yet.
        assert_eq!(arrival("a", 100, 30), at(30));
        assert_eq!(arrival("a", 200, 110), at(110), "it took 20 ms less");
        assert_eq!(arrival("a", 300, 210), at(210));
        assert_eq!(arrival("a", 400, 1_110), at(310), "800 ms late");
        assert_eq!(arrival("b", 400, 1_110), at(1_110), "another relay");
        // The relay's clock runs slower.
        let later = u64::try_from(WINDOW.as_millis()).unwrap();
        for round in 1..5 {
            arrival("a", later * round, later * round + 10 * round);
        }
        let sent = later * 5;
        assert_eq!(arrival("a", sent, sent + 50), at(sent + 40));
    }
}
