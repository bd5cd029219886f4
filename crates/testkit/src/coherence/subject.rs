//! The cache under test, as the check sees it.

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

/// A cache under test. Clones are the same cache; they are read on several threads at once.
///
/// Dropping the future of a read is part of the check: what was begun with it must not be left hanging.
pub trait Subject: Clone + Send + Sync + 'static {
    /// Reads the version of `key`: from memory, or by the loader.
    ///
    /// A failure of the loader is to be passed on, it is no fault of the cache.
    fn read(
        &self,
        key: i64,
        loader: Loader,
    ) -> impl Future<Output = Result<Reading, ReadFailure>> + Send;

    /// Called in a writer's transaction before its commit, for caches by which a writer can wait for its own
    /// write. The confirmation is awaited after the commit; if it says yes, the writer must read what it
    /// wrote.
    ///
    /// Runs on the thread of the check. By default there is nothing to wait for.
    fn announce(
        &self,
        transaction: &Transaction<'_>,
    ) -> impl Future<Output = Option<Confirmation>> {
        let _ = transaction;
        async { None }
    }
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The version.
    pub version: i64,
    /// Whether it was stored before the read began. What another read is loading at the same time was not.
    pub from_memory: bool,
}

/// Why nothing was read.
#[derive(Clone, Debug)]
pub struct ReadFailure(String);

impl ReadFailure {
    /// A failure in words.
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

/// Resolves when a write is seen by the cache: `true`, or `false` if that cannot be said.
pub struct Confirmation(pub(super) Pin<Box<dyn Future<Output = bool>>>);

impl Confirmation {
    /// What is awaited after the commit.
    pub fn new(applied: impl Future<Output = bool> + 'static) -> Self {
        Self(Box::pin(applied))
    }
}

impl fmt::Debug for Confirmation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Confirmation")
    }
}

/// Of what a [`Subject`] is made.
#[derive(Clone, Debug)]
pub struct CoherenceContext {
    pub(super) herald: Rc<Herald>,
    pub(super) health: watch::Receiver<Health>,
    pub(super) url: String,
    pub(super) reporter: Reporter,
    pub(super) capacity: usize,
}

impl CoherenceContext {
    /// The herald on whose listener the faults fall.
    #[must_use]
    pub fn herald(&self) -> &Herald {
        &self.herald
    }

    /// Its listener.
    #[must_use]
    pub fn listener(&self) -> &Addr<ListenerActor> {
        self.herald.listener()
    }

    /// The listener's health, by which the check judges whether the source is live.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    /// Where the database is reached without the proxy.
    #[must_use]
    pub fn database_url(&self) -> &str {
        &self.url
    }

    /// To whom the subject reports.
    #[must_use]
    pub fn reporter(&self) -> Reporter {
        self.reporter.clone()
    }

    /// What the subject subscribes to: the changes of [`Row`]'s table.
    pub fn filter(&self) -> Filter {
        Filter::new().table_of::<Row>()
    }

    /// The options to subscribe with: a queue so short that it overflows.
    pub fn subscription(&self, name: &str) -> SubscriptionOptions {
        SubscriptionOptions::new(name)
            .capacity(self.capacity)
            .max_batch((self.capacity / 4).max(1))
    }
}
