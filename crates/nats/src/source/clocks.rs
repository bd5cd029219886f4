//! Measures the delay of heartbeats on their way.
//!
//! A heartbeat contains the time for which its relay had been running when it was sent. The clocks of relay and source run at
//! nearly the same speed. So the arrival time minus this time shows the delay of a heartbeat, compared with the fastest heartbeat
//! of the last one to two minutes. It shows that a relay was suspended while it sent, or that a connection was stalled. It does not
//! show a delay that all heartbeats have.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::contract::Heartbeat;

/// The fastest heartbeat counts for one to two windows. Clocks whose speeds differ by 0.01 % diverge by 12 ms in two windows.
const WINDOW: Duration = Duration::from_secs(60);
/// The number of relays from which on those that have sent nothing for two windows are removed.
const RELAYS: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Clocks(HashMap<Box<str>, Clock>);

/// The start time of a relay, as derived from its fastest heartbeat.
#[derive(Debug)]
struct Clock {
    /// When the present window began.
    window: Instant,
    /// The earliest start time that a heartbeat of this window has shown.
    began: Instant,
    /// The same for the previous window.
    before: Instant,
}

impl Clocks {
    /// Returns when a heartbeat would have arrived with the delay of the fastest one, but `arrived` at the latest. The heartbeat
    /// was found in the queue at `now`, and arrived there at `arrived` or later.
    pub(super) fn arrival(
        &mut self,
        heartbeat: &Heartbeat,
        arrived: Instant,
        now: Instant,
    ) -> Instant {
        let sent = heartbeat.sent();
        // If the clock of this process cannot express the start time, the delay is not measured.
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
    fn delays_are_measured_against_the_fastest_heartbeat() {
        let (start, mut clocks) = (Instant::now(), Clocks::default());
        let at = |ms| start + Duration::from_millis(ms);
        let mut arrival = |relay, sent, arrived| {
            let sent = (relay, Duration::from_millis(sent));
            let lag = Duration::ZERO;
            let heartbeat = Heartbeat::new(("g", "1"), (0, 1), 1, ("A", 0), lag, lag, sent);
            clocks.arrival(&heartbeat, at(arrived), at(arrived))
        };
        // The delay of the first heartbeat is unknown.
        assert_eq!(arrival("a", 100, 30), at(30));
        assert_eq!(arrival("a", 200, 110), at(110), "20 ms faster");
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
