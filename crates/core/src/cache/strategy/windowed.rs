//! The strategy that applies events in groups.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Decision, Strategy, due, positive};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::operation::Operation;

/// Applies events in groups: by number, by period, or by a sequence of operations.
///
/// Until the group ends, a reader may see rows as they were before the held events:
///
/// | window | events held | how long |
/// |---|---|---|
/// | `events(n)` | fewer than `n` | until the `n`th arrives, however long that takes |
/// | `period(p)` | any number | `p` after the first of them |
/// | `sequence(s)` | any number | until `s` was seen, however long that takes |
/// | with `or_after(p)` | the same | the same, but at most `p` after the first of them |
///
/// Unless the tables change all the time, add [`or_after`](Self::or_after) to `events` and `sequence`. Otherwise the
/// last change before a quiet period is held until that period ends. For a sequence, `or_after` also bounds how many
/// events the cache keeps.
///
/// ```
/// use std::time::{Duration, Instant};
/// use pgherald_core::{Decision, Event, Operation, Strategy, Windowed};
///
/// # fn main() -> pgherald_core::Result<()> {
/// let mut strategy = Windowed::events(2)?.or_after(Duration::from_secs(1))?;
/// let event = Event::builder("public", "users", Operation::Update).key(7).build();
/// let now = Instant::now();
/// assert_eq!(strategy.on_event(&event, now), Decision::Hold);
/// assert_eq!(strategy.deadline(), Some(now + Duration::from_secs(1)));
/// assert_eq!(strategy.on_event(&event, now), Decision::Apply);
/// assert_eq!(strategy.deadline(), None);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a strategy does nothing until a cache is built with it"]
pub struct Windowed {
    window: Window,
    period: Option<Duration>,
    /// The number of held events.
    held: usize,
    /// The end of the period that began with the first held event.
    deadline: Option<Instant>,
}

/// The condition that ends a group, besides time.
#[derive(Debug)]
enum Window {
    Events(usize),
    Sequence {
        wanted: VecDeque<Operation>,
        /// The last operations, at most as many as in `wanted`.
        last: VecDeque<Operation>,
    },
    Endless,
}

impl Windowed {
    /// Applies when `events` events are pending.
    ///
    /// # Errors
    /// `events` is 0.
    pub fn events(events: usize) -> Result<Self> {
        if events == 0 {
            let message = "events of Windowed is 0, it must be at least 1";
            return Err(Error::new(ErrorKind::Config, message));
        }
        Ok(Self::new(Window::Events(events)))
    }

    /// Applies when `period` has passed since the first pending event.
    ///
    /// # Errors
    /// `period` is zero.
    pub fn period(period: Duration) -> Result<Self> {
        Self::new(Window::Endless).ending("period of Windowed", period)
    }

    /// Applies when the last operations seen are exactly those of `sequence`, on any rows.
    ///
    /// Sequences do not overlap: after a match, the next sequence begins with the next event. In PGCacheWatch's
    /// `Windowed` they overlap, which makes a difference for sequences such as two updates.
    ///
    /// # Errors
    /// `sequence` is empty.
    pub fn sequence(sequence: impl IntoIterator<Item = Operation>) -> Result<Self> {
        let wanted: VecDeque<Operation> = sequence.into_iter().collect();
        if wanted.is_empty() {
            let message = "sequence of Windowed is empty, it must have at least 1 operation";
            return Err(Error::new(ErrorKind::Config, message));
        }
        let last = VecDeque::with_capacity(wanted.len());
        Ok(Self::new(Window::Sequence { wanted, last }))
    }

    /// Also applies when `period` has passed since the first pending event. The last call wins.
    ///
    /// # Errors
    /// `period` is zero.
    pub fn or_after(self, period: Duration) -> Result<Self> {
        self.ending("or_after of Windowed", period)
    }

    fn new(window: Window) -> Self {
        Self {
            window,
            period: None,
            held: 0,
            deadline: None,
        }
    }

    fn ending(mut self, setting: &str, period: Duration) -> Result<Self> {
        self.period = Some(positive(setting, period)?);
        Ok(self)
    }

    /// Whether `event` completes the group.
    fn completes(&mut self, event: &Event) -> bool {
        match &mut self.window {
            Window::Endless => false,
            Window::Events(wanted) => self.held + 1 >= *wanted,
            Window::Sequence { wanted, last } => {
                if last.len() == wanted.len() {
                    last.pop_front();
                }
                last.push_back(event.operation());
                let complete = last == wanted;
                if complete {
                    last.clear();
                }
                complete
            }
        }
    }

    fn settle(&mut self) {
        self.held = 0;
        self.deadline = None;
    }
}

impl Strategy for Windowed {
    fn on_event(&mut self, event: &Event, now: Instant) -> Decision {
        if self.completes(event) || due(self.deadline, now) {
            self.settle();
            return Decision::Apply;
        }
        if self.held == 0 {
            self.deadline = self.period.and_then(|period| now.checked_add(period));
        }
        self.held += 1;
        Decision::Hold
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn on_deadline(&mut self, now: Instant) -> Decision {
        if !due(self.deadline, now) {
            return Decision::Ignore;
        }
        // The operations seen are kept: a deadline within a sequence does not restart it.
        self.settle();
        Decision::Apply
    }

    fn on_flushed(&mut self, _now: Instant) {
        self.settle();
        if let Window::Sequence { last, .. } = &mut self.window {
            last.clear();
        }
    }
}
