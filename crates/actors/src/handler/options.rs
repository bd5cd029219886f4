//! The options of a handler actor.

use std::time::Duration;

use pgherald_core::__private::host::errors;
use pgherald_core::{Filter, Result, RetryPolicy, SubscriptionOptions};

/// The options of an ephemeral handler: its name and limits.
///
/// An ephemeral handler keeps its tasks in memory, and loses them when the process ends. The next start begins with a
/// resync, in which the handler can catch up.
#[derive(Clone, Debug)]
#[must_use = "options do nothing until a handler is made with them"]
pub struct EphemeralOptions {
    pub(crate) name: String,
    pub(crate) concurrency: usize,
    pub(crate) timeout: Duration,
    pub(crate) retry: RetryPolicy,
    pub(crate) filter: Filter,
    pub(crate) subscription: SubscriptionOptions,
}

impl EphemeralOptions {
    /// Makes options with 8 concurrent attempts, a timeout of 30 s for each, and the default [`RetryPolicy`].
    ///
    /// The name appears in logs, metrics and reports. It need not be unique.
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

    /// Sets the number of attempts that may run concurrently. [`Herald::start_handler`](crate::Herald::start_handler) refuses 0;
    /// [`HandlerActor::new`](crate::HandlerActor::new) takes it as 1. Events of one row always run one at a time.
    pub fn concurrency(mut self, attempts: usize) -> Self {
        self.concurrency = attempts;
        self
    }

    /// Sets the time limit of one attempt. [`Herald::start_handler`](crate::Herald::start_handler) refuses 0.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// Sets how often, and after which delays, a failed task is retried.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Restricts the events of the handler further than its type [`EventHandler::Event`](pgherald_core::EventHandler::Event)
    /// does. Default: all events of that type.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// Sets the options of the queue between listener and handler. The handler's name replaces the name in `options`.
    pub fn subscription(mut self, options: SubscriptionOptions) -> Self {
        self.subscription = options.name(self.name.clone());
        self
    }

    /// Checks the limits.
    ///
    /// # Errors
    /// If the concurrency or the timeout is 0.
    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |option| Err(errors::zero_option(&self.name, option));
        match (self.concurrency, self.timeout) {
            (0, _) => refuse("concurrency"),
            (_, Duration::ZERO) => refuse("timeout"),
            _ => Ok(()),
        }
    }
}
