//! How a subscription's queue behaves.

use std::sync::Arc;

use crate::error::{Error, Kind, Result};
use crate::gate::Gate;

/// What happens to a subscription that is too slow for its queue.
///
/// In every case the loss is counted, and the subscriber is told how many events it lost in a resync that
/// stands where they are missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// Drop the whole backlog and begin anew after a resync. Right for whoever can read the current state
    /// again: caches above all.
    #[default]
    Resync,
    /// Drop the oldest events, as many as needed.
    DropOldest,
    /// Keep only the newest event per row. Superseded events are counted as coalesced, not as lost. If
    /// there are more different rows than room, as with [`Overflow::Resync`].
    ///
    /// The queue takes up to twice its capacity before it coalesces.
    CoalesceByKey,
}

/// Name and limits of a subscription.
#[derive(Clone, Debug)]
#[must_use = "options do nothing until something subscribes with them"]
pub struct SubscriptionOptions {
    pub(crate) name: String,
    pub(crate) capacity: usize,
    pub(crate) max_batch: usize,
    pub(crate) overflow: Overflow,
    /// Told whether the source is live, at once and not in the order of the queue.
    pub(crate) gate: Option<Arc<Gate>>,
}

impl SubscriptionOptions {
    /// Options with a capacity of 8,192 events, batches of up to 512, and [`Overflow::Resync`].
    ///
    /// The name stands in logs and statistics; it need not be unique.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            capacity: 8_192,
            max_batch: 512,
            overflow: Overflow::default(),
            gate: None,
        }
    }

    /// Replaces the name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How many events may wait. A single batch of the source (at most 512 events from PostgreSQL) is taken
    /// also if it is larger, where nothing else waits.
    pub fn capacity(mut self, events: usize) -> Self {
        self.capacity = events;
        self
    }

    /// How many events are handed over at once: the subscriber's credit. The next batch leaves the queue
    /// when the one before has been handled.
    pub fn max_batch(mut self, events: usize) -> Self {
        self.max_batch = events;
        self
    }

    /// What happens when the queue is full.
    pub fn overflow(mut self, policy: Overflow) -> Self {
        self.overflow = policy;
        self
    }

    pub(crate) fn gate(mut self, gate: Arc<Gate>) -> Self {
        self.gate = Some(gate);
        self
    }

    pub(crate) fn checked(self) -> Result<Self> {
        for (setting, value) in [("capacity", self.capacity), ("max_batch", self.max_batch)] {
            if value == 0 {
                let name = &self.name;
                let message =
                    format!("{setting} of subscription {name:?} is 0, it must be at least 1");
                return Err(Error::new(Kind::Config, message));
            }
        }
        if self.gate.is_some() && self.overflow == Overflow::CoalesceByKey {
            let message = format!(
                "subscription {:?} of a cache coalesces events, which would let write tokens overtake them; use \
                 Overflow::Resync",
                self.name
            );
            return Err(Error::new(Kind::Config, message));
        }
        Ok(self)
    }
}
