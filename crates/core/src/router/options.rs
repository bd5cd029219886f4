//! The options of a subscription's queue.

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::gate::Gate;

/// What happens when a subscriber is too slow for its queue.
///
/// In all cases the loss is counted, and a resync in place of the missing events reports their number to the subscriber.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// Drops the whole backlog and continues after a resync. Suits subscribers that can read the current state again, caches
    /// above all.
    #[default]
    Resync,
    /// Drops only as many of the oldest events as needed.
    DropOldest,
    /// Keeps only the newest event per row. Superseded events are counted as coalesced, not as lost. If there are more
    /// different rows than room, the backlog is dropped as with [`Overflow::Resync`].
    ///
    /// The queue grows up to twice its capacity before it coalesces.
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
    /// Learns at once whether the source is live, not in the order of the queue.
    pub(crate) gate: Option<Arc<Gate>>,
    /// Whether events need room for an attachment.
    pub(crate) attaches: bool,
}

impl SubscriptionOptions {
    /// Makes options with a capacity of 8,192 events, batches of up to 512 events, and [`Overflow::Resync`].
    ///
    /// The name appears in logs and statistics. It need not be unique.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            capacity: 8_192,
            max_batch: 512,
            overflow: Overflow::default(),
            gate: None,
            attaches: false,
        }
    }

    /// Replaces the name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets how many events may wait. A single batch of the source (at most 512 events from PostgreSQL) may exceed the
    /// capacity if the queue is empty.
    pub fn capacity(mut self, events: usize) -> Self {
        self.capacity = events;
        self
    }

    /// Sets how many events are delivered at once: the credit of the subscriber. The next batch leaves the queue after the
    /// previous one has been handled.
    pub fn max_batch(mut self, events: usize) -> Self {
        self.max_batch = events;
        self
    }

    /// Sets what happens when the queue is full.
    pub fn overflow(mut self, policy: Overflow) -> Self {
        self.overflow = policy;
        self
    }

    /// Requests room for a value in each event; see `event/attachment`.
    pub(crate) fn attaching(mut self) -> Self {
        self.attaches = true;
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
                    format!("{setting} of subscription {name:?} is 0; it must be at least 1");
                return Err(Error::new(ErrorKind::Config, message));
            }
        }
        if self.gate.is_some() && self.overflow == Overflow::CoalesceByKey {
            let message = format!(
                "subscription {:?} of a cache coalesces events, so write tokens could overtake them; use \
                 Overflow::Resync",
                self.name
            );
            return Err(Error::new(ErrorKind::Config, message));
        }
        Ok(self)
    }
}
