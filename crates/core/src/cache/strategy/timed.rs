//! The strategy that invalidates by the clock.

use std::time::{Duration, Instant};

use super::{Decision, Strategy, due, positive};
use crate::error::Result;
use crate::event::Event;

/// Invalidates by the clock: the whole cache at fixed intervals, or keys of events at most once per interval.
///
/// With [`every`](Self::every), a value may be up to one interval old, whether or not its event has arrived. With
/// [`at_most_every`](Self::at_most_every), a reader may miss the events of the last interval. Events that are further
/// apart than the interval take effect at once.
///
/// ```
/// use std::time::{Duration, Instant};
/// use pgherald_core::{Decision, Event, Operation, Strategy, Timed};
///
/// # fn main() -> pgherald_core::Result<()> {
/// let interval = Duration::from_secs(1);
/// let mut strategy = Timed::at_most_every(interval)?;
/// let event = Event::builder("public", "users", Operation::Update).key(7).build();
/// let now = Instant::now();
/// assert_eq!(strategy.on_event(&event, now), Decision::Apply);
/// assert_eq!(strategy.on_event(&event, now), Decision::Hold);
/// assert_eq!(strategy.deadline(), Some(now + interval));
/// assert_eq!(strategy.on_deadline(now + interval), Decision::Apply);
///
/// let mut strategy = Timed::every(interval)?;
/// strategy.on_started(now);
/// assert_eq!(strategy.on_event(&event, now), Decision::Hold);
/// assert_eq!(strategy.on_deadline(now + interval), Decision::Everything);
/// assert_eq!(strategy.deadline(), Some(now + 2 * interval));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a strategy does nothing until a cache is built with it"]
pub struct Timed {
    interval: Duration,
    mode: Mode,
}

#[derive(Debug)]
enum Mode {
    Every {
        /// The next planned flush; `None` before the start.
        next: Option<Instant>,
    },
    AtMostEvery {
        /// The last application or flush.
        last: Option<Instant>,
        /// The end of the interval for which events are held.
        deadline: Option<Instant>,
    },
}

impl Timed {
    /// Invalidates everything at a fixed interval, the first time one interval after the start of the cache.
    ///
    /// Flushes for other reasons do not move the planned times. If the driver is late, it flushes once for all missed
    /// times and then keeps to the plan.
    ///
    /// # Errors
    /// `interval` is zero.
    pub fn every(interval: Duration) -> Result<Self> {
        let interval = positive("every of Timed", interval)?;
        let mode = Mode::Every { next: None };
        Ok(Self { interval, mode })
    }

    /// Applies an event at once if the last application is at least one interval ago. Otherwise holds it until then.
    ///
    /// A flush counts as an application. PGCacheWatch's `Timed`, in contrast, drops events that come too soon.
    ///
    /// # Errors
    /// `interval` is zero.
    pub fn at_most_every(interval: Duration) -> Result<Self> {
        let interval = positive("at_most_every of Timed", interval)?;
        let mode = Mode::AtMostEvery {
            last: None,
            deadline: None,
        };
        Ok(Self { interval, mode })
    }
}

impl Strategy for Timed {
    fn on_started(&mut self, now: Instant) {
        if let Mode::Every { next } = &mut self.mode {
            *next = now.checked_add(self.interval);
        }
    }

    fn on_event(&mut self, _event: &Event, now: Instant) -> Decision {
        match &mut self.mode {
            Mode::Every { next: Some(next) } if *next <= now => self.on_deadline(now),
            Mode::Every { next } => {
                // A driver that did not call `on_started` must not make this hold for ever.
                *next = next.or_else(|| now.checked_add(self.interval));
                Decision::Hold
            }
            Mode::AtMostEvery { last, deadline } => match *last {
                Some(last) if now.saturating_duration_since(last) < self.interval => {
                    *deadline = last.checked_add(self.interval);
                    Decision::Hold
                }
                _ => {
                    (*last, *deadline) = (Some(now), None);
                    Decision::Apply
                }
            },
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.mode {
            Mode::Every { next } => next,
            Mode::AtMostEvery { deadline, .. } => deadline,
        }
    }

    fn on_deadline(&mut self, now: Instant) -> Decision {
        if !due(self.deadline(), now) {
            return Decision::Ignore;
        }
        match &mut self.mode {
            Mode::Every { next } => {
                *next = next.and_then(|missed| following(missed, self.interval, now));
                Decision::Everything
            }
            Mode::AtMostEvery { last, deadline } => {
                (*last, *deadline) = (Some(now), None);
                Decision::Apply
            }
        }
    }

    fn on_flushed(&mut self, now: Instant) {
        if let Mode::AtMostEvery { last, deadline } = &mut self.mode {
            (*last, *deadline) = (Some(now), None);
        }
    }
}

/// Returns the first point after `now` of the grid that contains `missed`.
fn following(missed: Instant, interval: Duration, now: Instant) -> Option<Instant> {
    const SECOND: u128 = Duration::from_secs(1).as_nanos();
    let late = now.saturating_duration_since(missed).as_nanos();
    let into = late % interval.as_nanos();
    let into = Duration::new((into / SECOND) as u64, (into % SECOND) as u32);
    now.checked_add(interval - into)
}
