//! How a handler actor works.

use std::time::Duration;

use pgherald_core::{Error, Filter, Result, RetryPolicy, SubscriptionOptions};

/// The terms of an ephemeral handler: its name and limits.
///
/// Ephemeral: tasks live in memory, and are gone with the process. What a handler missed meanwhile it learns
/// by a resync.
#[derive(Clone, Debug)]
#[must_use = "options do nothing until a handler is made with them"]
pub struct Ephemeral {
    pub(crate) name: String,
    pub(crate) concurrency: usize,
    pub(crate) timeout: Duration,
    pub(crate) retry: RetryPolicy,
    pub(crate) filter: Filter,
    pub(crate) subscription: SubscriptionOptions,
}

impl Ephemeral {
    /// Options with 8 attempts at a time, 30 s for each, and the default [`RetryPolicy`].
    ///
    /// The name stands in logs and reports; it need not be unique.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            subscription: SubscriptionOptions::new(name.clone()),
            name,
            filter: Filter::new(),
            concurrency: 8,
            timeout: Duration::from_secs(30),
            retry: RetryPolicy::default(),
        }
    }

    /// How many attempts may run at a time. [`Herald::handler`](crate::Herald::handler) refuses 0, and
    /// [`HandlerActor::new`](crate::HandlerActor::new) takes 1 instead. Events of one row always run one after the
    /// other.
    pub fn concurrency(mut self, attempts: usize) -> Self {
        self.concurrency = attempts;
        self
    }

    /// How long one attempt may take. [`Herald::handler`](crate::Herald::handler) refuses 0.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// How often an event is tried.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Which events it is given, of those that [`EventHandler::Event`](pgherald_core::EventHandler::Event)
    /// stands for. Default: all.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// The queue between listener and handler. Its name gives way to the handler's.
    pub fn subscription(mut self, options: SubscriptionOptions) -> Self {
        self.subscription = options.name(self.name.clone());
        self
    }

    /// Checks that attempts can be made.
    ///
    /// # Errors
    /// If the concurrency or the timeout is 0.
    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |option| Err(Error::zero_option(&self.name, option));
        match (self.concurrency, self.timeout) {
            (0, _) => refuse("concurrency"),
            (_, Duration::ZERO) => refuse("timeout"),
            _ => Ok(()),
        }
    }
}
