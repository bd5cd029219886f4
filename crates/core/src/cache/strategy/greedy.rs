//! The strategy that applies every event at once.

use std::fmt;
use std::time::Instant;

use super::{Decision, Strategy};
use crate::event::Event;
use crate::panic::contained;

type Predicate = dyn Fn(&Event) -> bool + Send;

/// Applies every event at once. The default strategy.
///
/// A reader sees the old version of a row until the event of the change has arrived, usually some milliseconds after
/// the commit. Events that [`only_if`](Self::only_if) excludes invalidate nothing: a cached value then stays until it
/// expires or until another event affects it.
///
/// ```
/// use std::time::Instant;
/// use pgherald_core::{Decision, Event, Greedy, Operation, Strategy};
///
/// let mut strategy = Greedy::new().only_if(|event| event.operation() != Operation::Insert);
/// let insert = Event::builder("public", "users", Operation::Insert).key(7).build();
/// let update = Event::builder("public", "users", Operation::Update).key(7).build();
/// assert_eq!(strategy.on_event(&insert, Instant::now()), Decision::Ignore);
/// assert_eq!(strategy.on_event(&update, Instant::now()), Decision::Apply);
/// ```
#[derive(Default)]
#[must_use = "a strategy does nothing until a cache is built with it"]
pub struct Greedy {
    predicates: Vec<Box<Predicate>>,
}

impl Greedy {
    /// Returns a strategy that applies every event.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ignores events for which `predicate` returns false. If it is called several times, all predicates must hold.
    ///
    /// It runs in the cache's driver, so it must be quick and must not block. If it panics, the event counts as
    /// matching, and the panic is logged.
    pub fn only_if(mut self, predicate: impl Fn(&Event) -> bool + Send + 'static) -> Self {
        self.predicates.push(Box::new(predicate));
        self
    }
}

impl Strategy for Greedy {
    fn on_event(&mut self, event: &Event, _now: Instant) -> Decision {
        if self.predicates.iter().all(|wanted| holds(wanted, event)) {
            Decision::Apply
        } else {
            Decision::Ignore
        }
    }
}

impl fmt::Debug for Greedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Greedy")
            .field("predicates", &self.predicates.len())
            .finish()
    }
}

fn holds(predicate: &Predicate, event: &Event) -> bool {
    contained(|| predicate(event)).unwrap_or_else(|message| {
        tracing::error!(%event, message, "strategy predicate panicked; the event counts as matching");
        true
    })
}
