//! By the clock.

use std::time::{Duration, Instant};

use super::{Decision, Strategy, due, positive};
use crate::error::Result;
use crate::event::Event;

/// Invalidates by the clock: everything every so often, or what events affect but not too often.
///
/// With [`every`](Self::every) a reader may see what was true up to an interval ago, of each row; nothing
/// is older, whether or not its event arrived. With [`at_most_every`](Self::at_most_every) a reader may see
/// a row as it was before events of the last interval; while events are further apart than that, they show
/// at once.
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
        /// The next point of the grid; `None` before the start.
        next: Option<Instant>,
    },
    AtMostEvery {
        /// The last application or flush.
        last: Option<Instant>,
        /// The end of the interval that events are held for.
        deadline: Option<Instant>,
    },
}

impl Timed {
    /// Invalidates everything at a fixed interval, whatever happens. The first time is an interval after
    /// the start of the cache.
    ///
    /// Flushes do not move the following times. Where a driver comes late, it happens once for all times
    /// that were missed, and goes on at those that were planned.
    ///
    /// # Errors
    /// `interval` is zero.
    pub fn every(interval: Duration) -> Result<Self> {
        let interval = positive("every of Timed", interval)?;
        let mode = Mode::Every { next: None };
        Ok(Self { interval, mode })
    }

    /// Applies an event at once if the last application is an interval ago, otherwise when it is.
    ///
    /// A flush counts as an application. Unlike PGCacheWatch's `Timed`, which forgets what comes too soon.
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
                // A driver that did not tell the start must not make this hold for good.
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

/// The first point after `now` of the grid that `missed` lies on.
fn following(missed: Instant, interval: Duration, now: Instant) -> Option<Instant> {
    const SECOND: u128 = Duration::from_secs(1).as_nanos();
    let late = now.saturating_duration_since(missed).as_nanos();
    let into = late % interval.as_nanos();
    let into = Duration::new((into / SECOND) as u64, (into % SECOND) as u32);
    now.checked_add(interval - into)
}
