//! The options of the live page.

use pgherald_core::cache::CacheKey;
use pgherald_core::{CacheHandle, CachedFn, ConnectConfig};

use super::caches::Observed;

/// The live page at `/`, and the operator API behind it: `/v1/status` and `/v1/groups`.
///
/// It shows the listener's health as a time line, events as they arrive, rates and latencies of tables, and the connected clients.
/// With a [database](Self::database) it also shows groups, the outbox and the state of triggers, and lets operators retry and
/// discard dead letters, and pause groups. With [caches](Self::cache) it shows their hit ratios.
///
/// ```no_run
/// # use std::sync::Arc;
/// # use pgherald_actors::Herald;
/// # use pgherald_core::{CacheHandle, ConnectConfig};
/// use pgherald_distributor::{Distributor, LivePage};
///
/// # fn example(herald: Arc<Herald>, users: CacheHandle<i64, String>) -> pgherald_core::Result<()> {
/// let config: ConnectConfig = "postgresql://operator@localhost/shop".parse()?;
/// let page = LivePage::new().database(config).cache(&users);
/// let distributor = Distributor::builder(herald).page(page).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "pass it to DistributorBuilder::page"]
pub struct LivePage {
    pub(super) database: Option<ConnectConfig>,
    pub(super) caches: Vec<Observed>,
}

impl LivePage {
    /// Makes a page without a database and without caches.
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows the groups and the outbox of a database. This takes one connection, while a page is open. Its role needs the rights
    /// to read the outbox and groups, and to change the tables of groups for the operations; `pgherald grant` lists them.
    pub fn database(mut self, config: ConnectConfig) -> Self {
        self.database = Some(config);
        self
    }

    /// Shows a cache of this process.
    pub fn cache<K: CacheKey, V: Send + Sync + 'static>(
        mut self,
        cache: &CacheHandle<K, V>,
    ) -> Self {
        self.caches.push(Observed::new(cache.clone()));
        self
    }

    /// Shows the cache of a `#[cached]` function. It must have been started; otherwise there is nothing to show.
    pub fn cached<K: CacheKey, V: Send + Sync + 'static>(
        mut self,
        function: &CachedFn<K, V>,
    ) -> Self {
        self.caches.extend(function.handle().map(Observed::new));
        self
    }
}
