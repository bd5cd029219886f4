//! Starts caches.

use std::collections::BTreeSet;

use pgherald_core::__private::host::cache::{Drive, KeyTypes};
use pgherald_core::cache::CacheKey;
use pgherald_core::{CacheBuilder, CacheDriver, CacheHandle, CachedFn, Result};

use super::Herald;
use crate::cache::CacheActor;

impl Herald {
    /// Starts a [`CacheActor`] and subscribes it. Returns the handle that reads the cache, from any thread.
    ///
    /// ```no_run
    /// # use pgherald_actors::Herald;
    /// # use pgherald_core::{CacheBuilder, CacheHandle, Table};
    /// # struct User;
    /// # impl Table for User {
    /// #     const NAME: &'static str = "users";
    /// #     const KEY: &'static [&'static str] = &["id"];
    /// #     type Key = i64;
    /// # }
    /// # async fn example(herald: &Herald) -> pgherald_core::Result<()> {
    /// let names: CacheHandle<i64, String> =
    ///     herald.start_cache(CacheBuilder::new("names").row_of::<User>().capacity(50_000)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If an option is invalid, or the herald was shut down. If the cache depends on a table that is not watched, unless a
    /// [`channel`](crate::HeraldBuilder::channel) of other triggers is listened to.
    ///
    /// If a key type does not fit a key column, see [`CacheBuilder::row_of`]. The herald checks this while it is live, for key
    /// types that do not fit all column types, such as `String`. Otherwise the first event closes the cache, see
    /// [`CacheHandle::refused`].
    pub async fn start_cache<K: CacheKey, V: Send + Sync + 'static>(
        &self,
        cache: CacheBuilder<K, V>,
    ) -> Result<CacheHandle<K, V>> {
        let (handle, driver) = cache.build()?;
        self.drive(driver).await?;
        Ok(handle)
    }

    /// Starts the cache of a `#[cached]` function. Before this, and after the shutdown, each call runs the function.
    ///
    /// # Errors
    /// As [`start_cache`](Self::start_cache). If the function's cache was started already, by this herald or by another one that
    /// still runs. In tests, a [`CacheScope`](pgherald_core::CacheScope) gives each test its own caches.
    pub async fn start_cached<K: CacheKey, V: Send + Sync + 'static>(
        &self,
        function: &CachedFn<K, V>,
    ) -> Result<()> {
        let (handle, driver) = function.build()?;
        // Before the driver is subscribed, so that no cache is left if the function is refused. While the cache is not live,
        // calls run the function.
        function.attach(handle)?;
        self.drive(driver).await
    }

    async fn drive<K: CacheKey, V: Send + Sync + 'static>(
        &self,
        driver: CacheDriver<K, V>,
    ) -> Result<()> {
        if let Some(watched) = &self.watched {
            driver.check_watched(watched)?;
        }
        self.check_keys(&driver).await?;
        if let Some(outbox) = &self.outbox {
            let recorded: Vec<_> = outbox
                .watched
                .iter()
                .map(|spec| spec.table().clone())
                .collect();
            driver.set_recorded(&recorded);
        }
        let subscribe = self.caches.run(move || CacheActor::run(driver)).await?;
        self.subscribe(subscribe).await.map(drop)
    }

    async fn check_keys<K: CacheKey, V: Send + Sync + 'static>(
        &self,
        driver: &CacheDriver<K, V>,
    ) -> Result<()> {
        let is_live = self.health.borrow().is_live();
        let Some(config) = self
            .config
            .as_ref()
            .filter(|_| is_live && driver.has_keys_to_check())
        else {
            return Ok(());
        };
        // One connection for all caches. If the types do not fit, they are read again: a table may have been altered.
        let mut known = self.key_types.lock().await;
        if driver.fits(&known) {
            return Ok(());
        }
        let watched = self.watched.iter().flatten();
        let tables: BTreeSet<_> = watched.chain(driver.tables()).collect();
        let tables: Vec<_> = tables.into_iter().collect();
        let read = match config.client().await {
            Ok(client) => KeyTypes::read(&client, &tables).await,
            Err(error) => Err(error),
        };
        let error = match read {
            Ok(types) => {
                *known = types;
                return driver.check_key_types(&known);
            }
            Err(error) => error,
        };
        // Not an error, for example if the connection was lost: events carry the types too.
        tracing::warn!(cache = driver.name(), error = %error.chain(), "cannot check the key types of the cache");
        Ok(())
    }
}
