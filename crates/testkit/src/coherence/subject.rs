//! The interface of the cache under test.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use actix::Addr;
use pgherald_actors::{Herald, ListenerActor};
use pgherald_core::{Filter, Health, SubscriptionOptions};
use tokio::sync::watch;
use tokio_postgres::Transaction;

use super::{Loader, Reporter, Row};

/// A cache under test. Clones must be handles on the same cache. The check reads them on several threads at once.
///
/// The check drops some futures of reads before they have ended. This must not block other reads of the same key.
pub trait Subject: Clone + Send + Sync + 'static {
    /// Reads the version of `key`, from memory or with the loader.
    ///
    /// Return the loader's failures: they do not count as violations.
    fn read(
        &self,
        key: i64,
        loader: Loader,
    ) -> impl Future<Output = Result<Reading, ReadFailure>> + Send;

    /// Called in a writer's transaction before its commit, for caches with which a writer can wait for its own write. The
    /// check awaits the confirmation after the commit. If it resolves to `true`, the writer must read what it has written
    /// (R6).
    ///
    /// Runs on the thread of the check. Returns `None` by default: there is no confirmation.
    fn announce(
        &self,
        transaction: &Transaction<'_>,
    ) -> impl Future<Output = Option<Confirmation>> {
        let _ = transaction;
        async { None }
    }
}

/// The answer to a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The version.
    pub version: i64,
    /// Whether the version was stored before the read began. A version from a load that was still running was not.
    pub from_memory: bool,
}

/// The error of a failed read.
#[derive(Clone, Debug)]
pub struct ReadFailure(String);

impl ReadFailure {
    /// Makes a failure with a message.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for ReadFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ReadFailure {}

/// Resolves to `true` when the cache has applied a write, or to `false` if it cannot confirm that.
pub struct Confirmation(pub(super) Pin<Box<dyn Future<Output = bool>>>);

impl Confirmation {
    /// Makes a confirmation from a future, which is awaited after the commit.
    pub fn new(applied: impl Future<Output = bool> + 'static) -> Self {
        Self(Box::pin(applied))
    }
}

impl fmt::Debug for Confirmation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Confirmation")
    }
}

/// What a check provides to make a [`Subject`].
#[derive(Clone, Debug)]
pub struct CoherenceContext {
    pub(super) herald: Rc<Herald>,
    pub(super) health: watch::Receiver<Health>,
    pub(super) url: String,
    pub(super) reporter: Reporter,
    pub(super) capacity: usize,
}

impl CoherenceContext {
    /// Returns the herald, whose listener is affected by the faults.
    #[must_use]
    pub fn herald(&self) -> &Herald {
        &self.herald
    }

    /// Returns the herald's listener.
    #[must_use]
    pub fn listener(&self) -> &Addr<ListenerActor> {
        self.herald.listener()
    }

    /// Returns the listener's health, which the check uses to decide whether the source is live.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    /// Returns the database's URL without the proxy.
    #[must_use]
    pub fn database_url(&self) -> &str {
        &self.url
    }

    /// Returns the reporter, to which the subject reports applied events and flushes.
    #[must_use]
    pub fn reporter(&self) -> Reporter {
        self.reporter.clone()
    }

    /// Returns a filter for the subject's subscription: the changes of [`Row`]'s table.
    pub fn filter(&self) -> Filter {
        Filter::new().table_of::<Row>()
    }

    /// Returns options for the subject's subscription: a queue that is so short that it overflows.
    pub fn subscription(&self, name: &str) -> SubscriptionOptions {
        SubscriptionOptions::new(name)
            .capacity(self.capacity)
            .max_batch((self.capacity / 4).max(1))
    }
}
