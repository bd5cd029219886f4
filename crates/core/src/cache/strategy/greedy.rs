//! Every event at once.

use std::fmt;
use std::time::Instant;

use super::{Decision, Strategy};
use crate::event::Event;
use crate::panic::contained;

type Predicate = dyn Fn(&Event) -> bool + Send;

/// Applies every event at once. What a cache does if nothing else is asked of it.
///
/// A reader sees a row as it was before a change until the change's event has arrived: usually some
/// milliseconds after the commit. What [`only_if`](Self::only_if) leaves out stays as it was cached, until
/// it expires or another event affects it.
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
    /// Applies every event.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ignores events for which `predicate` does not hold. Of several predicates, all must hold.
    ///
    /// It runs in the cache's driver: it must be quick and must not block. If it panics, the event counts
    /// as matching, and the panic is logged.
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
